"""Attention kernels by name, and the two leaves through which every network attends.

The leaves hold no parameters, so another kernel, or a sharded exchange around one, replaces a leaf and no model code.
"""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
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


# A few samples at a time, so that the logits stay in the processor's cache.
MOST_LOGITS = 2**21

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
    count = max(1, MOST_LOGITS // (q.shape[1] * q.shape[2] * k.shape[2]))
    if count >= len(q):
        return _softmax_attention(q, k, v, bias)
    biases = [bias] * len(q) if bias is None or len(bias) == 1 else bias.split(count)
    parts = zip(q.split(count), k.split(count), v.split(count), biases, strict=False)
    return torch.cat([_softmax_attention(*part) for part in parts])


def _softmax_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    logits = (q * q.shape[-1] ** -0.5) @ k.mT
    if bias is not None:
        logits = logits + bias.to(logits.dtype)
    return logits.softmax(-1).to(v.dtype) @ v


def _auto(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    # The CPU's fused kernel loses to plain products in bfloat16 by a factor of two, and wins nothing in float32
    # as long as the logits of one sample fit in memory several times.
    small = q.device.type == "cpu" and q.shape[1:3].numel() * k.shape[2] <= 2**26
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
        tokens = q.shape[2]
        bias = _range_bias(rule, tokens, q.device) if any(rule.bias) else None
        q_heads, k_heads, v_heads = (
            x.flatten(1, 2).transpose(1, 2) for x in (q, _select(k, rule.keys), _select(v, rule.keys))
        )
        return self.kernel(q_heads, k_heads, v_heads, bias).transpose(1, 2).reshape(q.shape)


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
        self.kernel = load_kernel("auto")

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
