"""Attention kernels that PyTorch alone computes on any device, and what a kernel is."""

from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Grid = tuple[int, int, int]  # latent frames, and rows and columns of tokens in each


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


@runtime_checkable
class GridKernel(Kernel, Protocol):
    """A kernel that has another way for tokens of which it knows where they lie."""

    def on_grid(
        self,
        q: Float[Tensor, "b n q d"],
        k: Float[Tensor, "b n k d"],
        v: Float[Tensor, "b n k d"],
        q_grid: Grid,
        k_grid: Grid,
    ) -> Float[Tensor, "b n q d"]:
        """Attend from the tokens of one grid to those of another, counted by frame, row and column."""
        ...


# A few samples at a time, so that the logits stay in the processor's cache.
MOST_LOGITS = 2**21


def sdpa(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Whatever PyTorch holds for the best."""
    return F.scaled_dot_product_attention(q, k, v, attn_mask=None if bias is None else bias.to(q.dtype))


def matmul(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Two products with a softmax between, a few samples at a time."""
    count = max(1, MOST_LOGITS // (q.shape[1] * q.shape[2] * k.shape[2]))
    if count >= len(q):
        return _softmax_attention(q, k, v, bias)
    biases = [bias] * len(q) if bias is None or len(bias) == 1 else bias.split(count)
    parts = zip(q.split(count), k.split(count), v.split(count), biases, strict=False)
    return torch.cat([_softmax_attention(*part) for part in parts])


def auto(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """``matmul`` for little on a CPU, ``sdpa`` for all else."""
    # The CPU's fused kernel loses to plain products in bfloat16 by a factor of two, and wins nothing in float32
    # as long as the logits of one sample fit in memory several times.
    small = q.device.type == "cpu" and q.shape[1:3].numel() * k.shape[2] <= 2**26
    return (matmul if small else sdpa)(q, k, v, bias)


def _softmax_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    logits = (q * q.shape[-1] ** -0.5) @ k.mT
    if bias is not None:
        logits = logits + bias.to(logits.dtype)
    return logits.softmax(-1).to(v.dtype) @ v
