"""Attention kernels by name, and the two leaves through which every network attends.

The leaves hold no parameters, so another kernel, or a sharded exchange around one, replaces a leaf and no model code.
"""

import math
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from enliven.errors import ConfigError
from enliven.types import AttentionRule


@runtime_checkable
class Kernel(Protocol):
    """Softmax attention with scale ``d ** -0.5``; ``bias`` is added to the logits before the softmax."""

    def __call__(
        self,
        q: Float[Tensor, "b n q d"],
        k: Float[Tensor, "b n k d"],
        v: Float[Tensor, "b n k d"],
        bias: Float[Tensor, "#b #n #q k"] | None = None,
    ) -> Float[Tensor, "b n q d"]:
        """Attend from ``q`` to ``k`` and ``v``."""
        ...


_LOADERS: dict[str, Callable[[], Kernel]] = {}


def register_kernel(name: str) -> Callable[[Callable[[], Kernel]], Callable[[], Kernel]]:
    """Register the decorated loader, which returns a kernel or raises ``MissingExtra``, under ``name``."""

    def register(loader: Callable[[], Kernel]) -> Callable[[], Kernel]:
        _LOADERS[name] = loader
        return loader

    return register


def kernel_names() -> list[str]:
    """The names of all registered kernels, whether or not they can be loaded here."""
    return sorted(_LOADERS)


def load_kernel(name: str) -> Kernel:
    """The kernel called ``name``.

    Raises ConfigError for an unknown name, and MissingExtra when the kernel needs a package that is not installed.
    """
    if name not in _LOADERS:
        raise ConfigError(f"unknown attention kernel {name!r}", hint=f"choose one of {', '.join(kernel_names())}")
    return _LOADERS[name]()


def use_kernel(network: nn.Module, name: str) -> None:
    """Let every attention leaf of ``network`` run the kernel called ``name``."""
    kernel = load_kernel(name)
    for leaf in network.modules():
        if isinstance(leaf, SelfAttend | CrossAttend):
            leaf.kernel = kernel


def _sdpa(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=None if bias is None else bias.to(q.dtype))


def _matmul(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    logits = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if bias is not None:
        logits = logits + bias.to(logits.dtype)
    return logits.softmax(-1) @ v


def _auto(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    # The CPU's fused kernel is slower than two matrix products until the logits no longer fit in memory.
    small = q.device.type == "cpu" and q.shape[:3].numel() * k.shape[2] <= 2**27
    return (_matmul if small else _sdpa)(q, k, v, bias)


@register_kernel("sdpa")
def _load_sdpa() -> Kernel:
    return _sdpa


@register_kernel("matmul")
def _load_matmul() -> Kernel:
    return _matmul


@register_kernel("auto")
def _load_auto() -> Kernel:
    return _auto


class SelfAttend(nn.Module):
    """Self attention in which each latent frame sees what the rules say and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = load_kernel("auto")

    def forward(
        self,
        q: Float[Tensor, "b t s n d"],
        k: Float[Tensor, "b all s n d"],
        v: Float[Tensor, "b all s n d"],
        rules: Sequence[AttentionRule],
        offset: int = 0,
    ) -> Float[Tensor, "b t s n d"]:
        """Attend; ``q`` holds the frames ``offset`` to ``offset + t`` of the frames the rules speak of."""
        parts = []
        for rule in rules:
            queries = range(max(rule.queries.start, offset) - offset, min(rule.queries.stop - offset, q.shape[1]))
            if queries:
                parts.append(self._attend(q[:, queries.start : queries.stop], k, v, rule))
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, rule: AttentionRule) -> Tensor:
        frames, tokens = q.shape[1:3]
        bias = _range_bias(rule, tokens, q.device) if any(rule.bias) else None
        seen = (_select(x, rule.keys) for x in (k, v))
        out = self.kernel(*(x.flatten(1, 2).transpose(1, 2) for x in (q, *seen)), bias)
        return out.transpose(1, 2).unflatten(1, (frames, tokens))


def _select(x: Tensor, ranges: tuple[range, ...]) -> Tensor:
    """The frames in ``ranges``; a view when the ranges follow one another."""
    if all(a.stop == b.start for a, b in zip(ranges, ranges[1:], strict=False)):
        return x[:, ranges[0].start : ranges[-1].stop]
    return torch.cat([x[:, keys.start : keys.stop] for keys in ranges], 1)


def _range_bias(rule: AttentionRule, tokens: int, device: torch.device) -> Tensor:
    lengths = torch.tensor([len(keys) * tokens for keys in rule.keys], device=device)
    return torch.tensor(rule.bias, device=device).repeat_interleave(lengths)[None, None, None]


class CrossAttend(nn.Module):
    """Attention from tokens to a context of another kind."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = load_kernel("auto")

    def forward(
        self,
        q: Float[Tensor, "b q n d"],
        k: Float[Tensor, "b k n d"],
        v: Float[Tensor, "b k n d"],
        mask: Bool[Tensor, "b k"] | None = None,
    ) -> Float[Tensor, "b q n d"]:
        """Attend; keys where ``mask`` is false are not seen."""
        bias = None if mask is None else torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, -math.inf)
        out = self.kernel(*(x.transpose(1, 2) for x in (q, k, v)), None if bias is None else bias[:, None, None])
        return out.transpose(1, 2)
