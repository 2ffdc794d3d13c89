"""Faults made in latent space, as generators make them: the decoder then paints what cannot be.

All functions take and give normalised latents of clips ``[c, t, h, w]`` and draw their chances from torch's global
generator.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Clip = Float[Tensor, "c t h w"]
Fault = Callable[[Clip, Clip, Clip], Clip]


def spoil_latents(
    latents: Float[Tensor, "b c t h w"], others: Float[Tensor, "b c t h w"], fault: Fault | None = None
) -> Float[Tensor, "b c t h w"]:
    """Every clip with one fault, from hardly to badly, or with ``fault``.

    ``others`` are the same people in other poses.
    """
    spoilt = []
    for index, (clip, other) in enumerate(zip(latents, others, strict=True)):
        chosen = fault or LATENT_FAULTS[int(torch.randint(len(LATENT_FAULTS), ()))]
        spoilt.append(chosen(clip, other, latents[index - 1]))
    return torch.stack(spoilt)


def _noise(clip: Clip, other: Clip, stranger: Clip) -> Clip:  # noqa: ARG001
    """Noise that was not taken out."""
    return clip + _within(0.05, 1.5) * _where(clip) * torch.randn_like(clip)


def _unfinished(clip: Clip, other: Clip, stranger: Clip) -> Clip:  # noqa: ARG001
    """Denoised half of the way: what is left of the noise is smooth."""
    time = _within(0.1, 0.8)
    noisy = (1 - time) * clip + time * torch.randn_like(clip)
    return clip.lerp(
        F.avg_pool2d(noisy, 3, stride=1, padding=1, count_include_pad=False), _within(0.3, 1) * _where(clip)
    )


def _mosaic(clip: Clip, other: Clip, stranger: Clip) -> Clip:  # noqa: ARG001
    """Patches of two poses that do not agree."""
    return clip.lerp(other, _within(0.6, 1.0) * _cells(clip))


def _mixture(clip: Clip, other: Clip, stranger: Clip) -> Clip:  # noqa: ARG001
    """Undecided between two poses."""
    return clip.lerp(other, _within(0.2, 0.5) * _spot(clip))


def _average(clip: Clip, other: Clip, stranger: Clip) -> Clip:  # noqa: ARG001
    """All poses at once."""
    every = torch.cat([clip, other], dim=1).mean(dim=1, keepdim=True)
    return clip.lerp(every.expand_as(clip), _within(0.4, 1.0) * _where(clip))


def _stranger(clip: Clip, other: Clip, stranger: Clip) -> Clip:  # noqa: ARG001
    """Patches of somebody else."""
    return clip.lerp(stranger, _within(0.2, 1.0) * _cells(clip))


def _shift(clip: Clip, other: Clip, stranger: Clip) -> Clip:  # noqa: ARG001
    """Patches out of place."""
    moves: list[int] = [(-1, 0), (1, 0), (0, -1), (0, 1), (1, 1), (-1, 1)][int(torch.randint(6, ()))]  # type: ignore[assignment]
    return clip.lerp(clip.roll(moves, dims=(2, 3)), _within(0.4, 1.0) * _cells(clip))


def _gain(clip: Clip, other: Clip, stranger: Clip) -> Clip:  # noqa: ARG001
    """Patches brighter, darker or more colourful than their neighbours."""
    wrong = 1 + _within(0.1, 1.0) * torch.randn(clip.shape[0], 1, *clip.shape[2:])
    return clip * torch.ones_like(clip).lerp(wrong.expand_as(clip), _where(clip))


def _channels(clip: Clip, other: Clip, stranger: Clip) -> Clip:  # noqa: ARG001
    """Numbers in each other's place."""
    return clip.lerp(clip.roll(int(torch.randint(1, len(clip), ())), 0), _within(0.1, 1.0) * _where(clip))


LATENT_FAULTS: tuple[Fault, ...] = (
    _noise,
    _unfinished,
    _mosaic,
    _mixture,
    _average,
    _stranger,
    _shift,
    _gain,
    _channels,
)


def _within(low: float, high: float) -> float:
    return low + (high - low) * torch.rand(()).item()


def _where(clip: Clip) -> Clip:
    """Everywhere, in a soft spot, or in patches; 0..1."""
    kind = torch.rand(()).item()
    if kind < 0.3:
        return torch.ones_like(clip)
    return _spot(clip) if kind < 0.6 else _cells(clip)


def _cells(clip: Clip) -> Clip:
    """Patches of 2 x 2 cells here and there, other ones in each latent frame."""
    frames, height, width = clip.shape[1:]
    chosen = (torch.rand(1, frames, -(-height // 2), -(-width // 2)) < _within(0.03, 0.5)).float()
    large = F.interpolate(chosen, scale_factor=2, mode="nearest")[:, :, :height, :width]
    return large.expand_as(clip)


def _spot(clip: Clip) -> Clip:
    """A soft spot around the middle, small or as large as the picture."""
    height, width = clip.shape[2:]
    down = (torch.arange(height) + 0.5) / height - 0.5 - 0.15 * torch.randn(())
    across = (torch.arange(width) + 0.5) / width - 0.5 - 0.15 * torch.randn(())
    squared = down.square()[:, None] + across.square()[None, :]
    return torch.exp(-squared / (2 * _within(0.06, 0.6) ** 2)).expand_as(clip)
