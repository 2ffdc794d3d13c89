"""Drawn frames of people no judge has learnt from."""

import torch

from enliven.toonworld.character import sample_character
from enliven.toonworld.draw import draw
from enliven.toonworld.motion import calm_motion
from enliven.toonworld.state import FaceState

PEOPLE = tuple(range(9_500_000, 9_500_012))


def talking(seed: int, frames: int, amplitude: float = 1.0) -> FaceState:
    """Calm motion with a mouth that opens and closes."""
    generator = torch.Generator().manual_seed(seed)
    state = calm_motion(frames, 25.0, generator, amplitude)
    opening = (torch.rand(frames, generator=generator) * 1.3 - 0.3).clamp(0, 1)
    ones = torch.ones(frames)
    return state.with_mouth(opening, 0.5 * ones, 0.2 * ones, 0.5 * ones, 0.2 * ones)


def drawn(seed: int, state: FaceState, side: int = 128) -> torch.Tensor:
    return (draw(sample_character(seed), state, (side, side)) * 255).round().to(torch.uint8)
