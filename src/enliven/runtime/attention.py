"""Attention kernels by name, and the two leaves through which every network attends.

The leaves hold no parameters, so another kernel, or a sharded exchange around one, replaces a leaf and no model code.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from enliven.errors import ConfigError, MissingExtra
from enliven.runtime.kernel_block_sparse import BlockSparse
from enliven.runtime.kernel_fused import load_cudnn, load_flash2, load_flash3, load_flex, load_sage, need, need_gpu
from enliven.runtime.kernel_plain import GridKernel, Kernel, auto, matmul, sdpa
from enliven.types import AttentionRule

Loader = Callable[[], Kernel]


def _load_block_sparse() -> Kernel:
    need_gpu("block-sparse", 8)
    need("triton", "triton", "block-sparse")
    from enliven.runtime.kernel_block_sparse_triton import attend_blocks  # noqa: PLC0415 - needs Triton

    return BlockSparse(attend=attend_blocks)


_LOADERS: dict[str, Loader] = {
    "auto": lambda: auto,
    "sdpa": lambda: sdpa,
    "matmul": lambda: matmul,
    "cudnn": load_cudnn,
    "flash2": load_flash2,
    "flash3": load_flash3,
    "sage": load_sage,
    "flex": load_flex,
    "block-sparse": _load_block_sparse,
    "block-sparse-masked": BlockSparse,  # anywhere, and slow: computed densely
}


def kernel_names() -> list[str]:
    """The names of all kernels, whether or not they can be loaded here."""
    return sorted(_LOADERS)


def load_kernel(name: str) -> Kernel:
    """The kernel called ``name``.

    Raises ConfigError for an unknown name, or where the kernel needs another GPU; MissingExtra when it needs a package
    that is not installed.
    """
    if name not in _LOADERS:
        raise ConfigError(f"unknown attention kernel {name!r}", hint=f"choose one of {', '.join(kernel_names())}")
    return _LOADERS[name]()


def why_not(name: str) -> str:
    """Why a kernel cannot be loaded here; empty where it can."""
    try:
        load_kernel(name)
    except (ConfigError, MissingExtra) as error:
        return str(error)
    return ""


def use_kernel(network: nn.Module, name: str) -> None:
    """Let every attention leaf of ``network`` run the kernel called ``name``. Raises as ``load_kernel``."""
    kernel = load_kernel(name)
    for leaf in network.modules():
        if isinstance(leaf, SelfAttend | CrossAttend):
            leaf.kernel = kernel


class SelfAttend(nn.Module):
    """Self attention in which each latent frame sees what the rules say and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel: Kernel = auto

    def forward(
        self,
        q: Float[Tensor, "b t s n d"],
        k: Float[Tensor, "b all s n d"],
        v: Float[Tensor, "b all s n d"],
        rules: Sequence[AttentionRule],
        offset: int = 0,
        grid: tuple[int, int] | None = None,
    ) -> Float[Tensor, "b t s n d"]:
        """Attend; ``q`` holds the frames ``offset`` to ``offset + t`` of the frames the rules speak of.

        ``grid`` are the rows and columns of tokens in a frame, for kernels that look at where a token lies. They do so
        where several frames see several frames, and all alike; elsewhere they attend densely.
        """
        parts = []
        for rule in rules:
            queries = range(max(rule.queries.start, offset) - offset, min(rule.queries.stop - offset, q.shape[1]))
            if queries:
                parts.append(self._attend(q[:, queries.start : queries.stop], k, v, rule, grid))
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule, grid: tuple[int, int] | None) -> Tensor:
        k, v = _select(k, rule.keys), _select(v, rule.keys)
        q_heads, k_heads, v_heads = (x.flatten(1, 2).transpose(1, 2) for x in (q, k, v))
        biased = any(rule.bias)
        if grid is not None and not biased and min(q.shape[1], k.shape[1]) > 1 and isinstance(self.kernel, GridKernel):
            seen = self.kernel.on_grid(q_heads, k_heads, v_heads, (q.shape[1], *grid), (k.shape[1], *grid))
        else:
            bias = _range_bias(rule, q.shape[2], q.device) if biased else None
            seen = self.kernel(q_heads, k_heads, v_heads, bias)
        return seen.transpose(1, 2).reshape(q.shape)


def _select(x: Tensor, ranges: tuple[range, ...]) -> Tensor:
    """The frames in ``ranges``; a view when the ranges follow one another."""
    if all(a.stop == b.start for a, b in pairwise(ranges)):
        return x[:, ranges[0].start : ranges[-1].stop]
    return torch.cat([x[:, keys.start : keys.stop] for keys in ranges], 1)


def _range_bias(rule: AttentionRule, tokens: int, device: torch.device) -> Tensor:
    lengths = torch.tensor([len(keys) * tokens for keys in rule.keys], device=device)
    return torch.tensor(rule.bias, device=device).repeat_interleave(lengths)[None, None, None]


class CrossAttend(nn.Module):
    """Attention from tokens to a context of another kind."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel: Kernel = auto

    def forward(
        self,
        q: Float[Tensor, "b q n d"],
        k: Float[Tensor, "b k n d"],
        v: Float[Tensor, "b k n d"],
        mask: Bool[Tensor, "b k"] | None = None,
    ) -> Float[Tensor, "b q n d"]:
        """Attend; keys where ``mask`` is false are not seen."""
        bias = None
        if mask is not None:
            bias = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, -math.inf)[:, None, None]
        return self.kernel(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), bias).transpose(1, 2)
