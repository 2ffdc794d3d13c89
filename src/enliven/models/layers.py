"""The small parts diffusion transformers share: norms, modulation, patches, timestep embedding, rotary positions."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Complex64, Float
from torch import Tensor, nn

from enliven.errors import ConfigError, RequestError


class Linear32(nn.Linear):
    """A linear layer that computes in float32 whatever the dtype of its weights, autocast included."""

    def forward(self, x: Float[Tensor, "*b c_in"]) -> Float[Tensor, "*b c_out"]:
        """Project, in float32."""
        bias = None if self.bias is None else self.bias.float()
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(x.float(), self.weight.float(), bias)


class LayerNorm32(nn.LayerNorm):
    """Layer norm computed in float32, returned in the dtype it was given."""

    def forward(self, x: Float[Tensor, "*b c"]) -> Float[Tensor, "*b c"]:
        """Normalise the last axis."""
        weight, bias = (None if p is None else p.float() for p in (self.weight, self.bias))
        return F.layer_norm(x.float(), self.normalized_shape, weight, bias, self.eps).to(x.dtype)


class RMSNorm(nn.Module):
    """Root-mean-square norm computed in float32 and scaled in the dtype of its weight."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.eps = eps

    def forward(self, x: Float[Tensor, "*b c"]) -> Float[Tensor, "*b c"]:
        """Normalise the last axis."""
        return F.rms_norm(x.float(), self.weight.shape, eps=self.eps).to(x.dtype) * self.weight


class PatchEmbedding(nn.Conv3d):
    """One token for each patch of latent cells: a convolution whose stride is its kernel, so one matrix product."""

    def __init__(self, channels: int, width: int, size: tuple[int, int, int]) -> None:
        super().__init__(channels, width, kernel_size=size, stride=size)

    def forward(self, latents: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b t s c_out"]:
        """Project the patches of each latent frame. Raises RequestError when the cells cannot be cut into patches."""
        (height, width), (rows, columns) = latents.shape[3:], self.kernel_size[1:]
        if height % rows or width % columns:
            raise RequestError(
                f"{height} x {width} latent cells cannot be cut into {rows} x {columns} patches",
                hint="choose a frame size that divides",
            )
        patches = rearrange(latents, "b c t (h p) (w q) -> b t (h w) (c p q)", p=rows, q=columns)
        return F.linear(patches, self.weight.flatten(1), self.bias)


def modulate(
    x: Float[Tensor, "b t s c"], shift: Float[Tensor, "b t 1 c"], scale: Float[Tensor, "b t 1 c"], eps: float = 1e-6
) -> Float[Tensor, "b t s c"]:
    """Adaptive layer norm, ``norm(x) * (1 + scale) + shift``: computed in float32, returned in the dtype of ``x``."""
    return torch.addcmul(shift, F.layer_norm(x.float(), x.shape[-1:], eps=eps), scale + 1).to(x.dtype)


def add_gated(
    x: Float[Tensor, "b t s c"], gate: Float[Tensor, "b t 1 c"], y: Float[Tensor, "b t s c"]
) -> Float[Tensor, "b t s c"]:
    """The residual sum ``x + gate * y``: computed in float32, returned in the dtype of ``x``."""
    return torch.addcmul(x.float(), gate, y.float()).to(x.dtype)


def timestep_embedding(timestep: Float[Tensor, "*b"], channels: int) -> Float[Tensor, "*b {channels}"]:
    """Cosines, then sines, of the timestep (0..1000) at frequencies 1 down to 1/10000, in float32."""
    half = channels // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, device=timestep.device) / half)
    angles = timestep.float()[..., None] * frequencies
    return F.pad(torch.cat([angles.cos(), angles.sin()], -1), (0, channels % 2))


def rope_table(
    positions: Sequence[float], height: int, width: int, head_size: int, device: torch.device | str | None = None
) -> Complex64[Tensor, "t s pairs"]:
    """Three-dimensional rotary positions: one unit complex number per channel pair.

    ``positions`` are the times of the latent frames, fractional or negative ones included. Rows and columns of the
    token grid count from 0. A third of the head, rounded down to even, belongs to each of height and width, the rest
    to time; the order is time, height, width.

    Raises ConfigError unless ``head_size`` is a multiple of 8.
    """
    if head_size % 8:
        raise ConfigError(f"head size {head_size} is not a multiple of 8", hint="change hidden_size or num_heads")
    side = 2 * (head_size // 6)
    time, row, column = (
        _angles(torch.tensor(list(places), dtype=torch.float32, device=device), channels)
        for places, channels in ((positions, head_size - 2 * side), (range(height), side), (range(width), side))
    )
    grid = (len(time), height, width, -1)
    angles = torch.cat(
        [time[:, None, None].expand(grid), row[None, :, None].expand(grid), column[None, None].expand(grid)], -1
    ).flatten(1, 2)
    return torch.polar(torch.ones_like(angles), angles)


def _angles(positions: Tensor, channels: int) -> Tensor:
    exponents = torch.arange(0, channels, 2, device=positions.device, dtype=torch.float32) / channels
    return positions[:, None] * 10000**-exponents


def rotate(x: Float[Tensor, "b t s n d"], table: Complex64[Tensor, "t s pairs"]) -> Float[Tensor, "b t s n d"]:
    """Turn each pair of neighbouring channels by its angle: computed in float32, returned in the dtype of ``x``."""
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * table[:, :, None]).flatten(-2).to(x.dtype)
