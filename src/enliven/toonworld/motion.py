"""Calm movement of a listening or speaking person, independent of what is said."""

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from enliven.toonworld.state import FaceState

SHIFT = 0.007
YAW = 0.055
PITCH = 0.04
ROLL = math.radians(2.0)


def calm_motion(frames: int, fps: float, generator: torch.Generator, amplitude: float = 1.0) -> FaceState:
    """A still person's life over any length: slow head, blinks, glances, brows, breath and a rare hand beat.

    ``amplitude`` scales how far head, brows and hand move; 1 keeps the head within about three pixels of 128.
    The mouth stays closed.
    """
    seconds = torch.arange(frames) / fps
    return replace(
        FaceState.neutral(frames),
        yaw=amplitude * YAW * _drift(seconds, generator),
        pitch=amplitude * PITCH * _drift(seconds, generator),
        roll=amplitude * ROLL * _drift(seconds, generator),
        shift_x=amplitude * SHIFT * _drift(seconds, generator),
        shift_y=amplitude * SHIFT * 0.6 * _drift(seconds, generator),
        gaze_x=_glances(seconds, generator, reach=0.6),
        gaze_y=_glances(seconds, generator, reach=0.3),
        blink=_blinks(seconds, generator),
        brow=(amplitude * _raises(seconds, generator)).clamp(-1, 1),
        breath=_breath(seconds, generator),
        gesture=(amplitude * _beats(seconds, generator)).clamp(0, 1),
    )


def _drift(seconds: Float[Tensor, "f"], generator: torch.Generator) -> Float[Tensor, "f"]:
    """Smooth wandering in -1..1 with periods of 2.5 to 6 seconds."""
    periods = _uniform(generator, 2.5, 6.0, 4)
    weights = periods / periods.sum()
    phases = _uniform(generator, 0.0, 2 * math.pi, 4)
    return (weights * torch.sin(2 * math.pi * seconds[:, None] / periods + phases)).sum(dim=1)


def _breath(seconds: Float[Tensor, "f"], generator: torch.Generator) -> Float[Tensor, "f"]:
    period = _uniform(generator, 3.0, 4.0, 1)
    phase = _uniform(generator, 0.0, 2 * math.pi, 1) + 0.6 * _drift(seconds, generator)
    return 0.5 - 0.5 * torch.cos(2 * math.pi * seconds / period + phase)


def _blinks(seconds: Float[Tensor, "f"], generator: torch.Generator) -> Float[Tensor, "f"]:
    """About a quarter of a second every 2 to 5 seconds, now and then two in a row."""
    shut = torch.zeros_like(seconds)
    for start in _times(seconds, generator, 2.0, 5.0):
        twice = _chance(generator) < 0.15
        for offset in (0.0, 0.34) if twice else (0.0,):
            shut = torch.maximum(shut, _bump(seconds - start - offset, rise=0.1, hold=0.05))
    return shut


def _glances(seconds: Float[Tensor, "f"], generator: torch.Generator, reach: float) -> Float[Tensor, "f"]:
    """Holds a direction for 1 to 3 seconds, then jumps; every other time back to the viewer."""
    gaze, target = torch.zeros_like(seconds), 0.0
    for start in _times(seconds, generator, 1.0, 3.0):
        following = 0.0 if target and _chance(generator) < 0.6 else reach * (2 * _chance(generator) - 1)
        gaze = gaze + (following - target) * _ease((seconds - start) / 0.14)
        target = following
    return gaze


def _raises(seconds: Float[Tensor, "f"], generator: torch.Generator) -> Float[Tensor, "f"]:
    brow = 0.15 * _drift(seconds, generator)
    for start in _times(seconds, generator, 2.5, 6.0):
        height = 0.9 * _chance(generator) - 0.2
        brow = brow + height * _bump(seconds - start, rise=0.25, hold=0.3 + 0.6 * _chance(generator))
    return brow


def _beats(seconds: Float[Tensor, "f"], generator: torch.Generator) -> Float[Tensor, "f"]:
    """A hand rises for one and a half to two and a half seconds, about a seventh of the time."""
    hand = torch.zeros_like(seconds)
    for start in _times(seconds, generator, 8.0, 18.0):
        height = 0.65 + 0.25 * _chance(generator)
        beat = 0.1 * torch.sin(2 * math.pi * 0.9 * (seconds - start))
        hand = hand + (height + beat) * _bump(seconds - start, rise=0.8, hold=0.4 + 0.6 * _chance(generator))
    return hand


def _times(seconds: Float[Tensor, "f"], generator: torch.Generator, shortest: float, longest: float) -> list[float]:
    """Moments with gaps of ``shortest`` to ``longest`` seconds; the first may already lie behind."""
    end = len(seconds) and seconds[-1].item()
    moments = [-longest * _chance(generator)]
    while moments[-1] < end:
        moments.append(moments[-1] + shortest + (longest - shortest) * _chance(generator))
    return moments


def _bump(seconds: Float[Tensor, "f"], rise: float, hold: float) -> Float[Tensor, "f"]:
    """From 0 to 1 in ``rise`` seconds, ``hold`` there, and back."""
    return _ease(seconds / rise) - _ease((seconds - rise - hold) / rise)


def _ease(ratio: Float[Tensor, "f"]) -> Float[Tensor, "f"]:
    ratio = ratio.clamp(0, 1)
    return ratio * ratio * (3 - 2 * ratio)


def _chance(generator: torch.Generator) -> float:
    return torch.rand((), generator=generator).item()


def _uniform(generator: torch.Generator, low: float, high: float, count: int) -> Float[Tensor, "count"]:
    return low + (high - low) * torch.rand(count, generator=generator)
