"""Clips without people or sound: the general video of hybrid-modality training (Soul, section 3.2)."""

import torch

from enliven.data.clips import FPS, ToonClip
from enliven.toonworld.sights import draw_sight, sample_sight, sight_caption
from enliven.toonworld.state import FaceState

NOBODY = -1


def make_sight(seed: int, *, frames: int = 61, size: tuple[int, int] = (128, 128)) -> ToonClip:
    """Draw one. It has no sound at all, which is not silence: nothing is heard of it."""
    sight = sample_sight(seed)
    pixels = (draw_sight(sight, frames, FPS, size) * 255).round().clamp(0, 255).to(torch.uint8)
    still = FaceState.neutral(frames)
    return ToonClip(pixels, torch.zeros(0), still, NOBODY, sight_caption(sight), silent=False)
