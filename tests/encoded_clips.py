"""Folders of encoded clips whose latents are known."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from enliven.data.encoded import EncodedClip, save_encoded


def clip_of_noise(seed: int = 0, latents: int = 5) -> EncodedClip:
    """A clip of chance as the tiny Soul knows it, with two speech features for a video frame."""
    made, frames = torch.Generator().manual_seed(seed), 4 * latents - 3
    return EncodedClip(
        latents=torch.randn(4, latents, 4, 4, generator=made),
        references=torch.randn(latents, 4, 4, 4, generator=made),
        reference_frames=torch.arange(0, frames, 4),
        audio=torch.randn(1, 2 * frames, 3, 16, generator=made),
        mouth=torch.ones(1, frames, 5),
        caption="a man with a hat",
        silent=False,
    )


def spoken_clip(seed: int = 0, **changes: object) -> EncodedClip:
    """Nine latent frames of 33 video frames, as the tiny LongCat knows them."""
    generator = torch.Generator().manual_seed(seed)
    made = EncodedClip(
        torch.randn(4, 9, 4, 4, generator=generator),
        torch.randn(9, 4, 4, 4, generator=generator),
        torch.arange(0, 33, 4),
        torch.randn(1, 33, 2, 16, generator=generator),
        torch.zeros(1, 33, 5),
        "a man with a hat",
        False,
    )
    return replace(made, **changes)


def write_clip(path: Path, latents: Tensor) -> None:
    """An encoded clip of these latents, with the smallest of everything else."""
    clip = EncodedClip(
        latents,
        latents[None, :, 0],
        torch.zeros(1, dtype=torch.int64),
        torch.zeros(1, 1, 1, 1),
        torch.zeros(1, 1, 5),
        "",
        True,
    )
    save_encoded(clip, path)


def write_clips(folder: Path, count: int = 10, channels: int = 3) -> Path:
    """Clips of noise; their first latents, which stand for one frame, are far from all others."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        latents = torch.randn(channels, 4, 4, 6, generator=torch.Generator().manual_seed(number))
        latents[:, 0] += 100
        write_clip(folder / f"{number:03}.safetensors", latents)
    return folder
