"""Folders of shards whose clips are known: each clip holds its own number."""

from pathlib import Path

import torch

from enliven.data.encoded import EncodedClip
from enliven.data.shards import ShardWriter


def numbered_clip(number: int, *, latents: int = 4, people: int = 1, width: int = 2) -> EncodedClip:
    """A clip whose latents are its number, and whose features are too."""
    frames = 4 * latents - 3
    return EncodedClip(
        latents=torch.full((3, latents, 2, width), float(number)),
        references=torch.full((latents, 3, 2, width), float(number)),
        reference_frames=torch.arange(0, frames, 4),
        audio=torch.full((people, frames, 2, 4), float(number)),
        mouth=torch.zeros(people, frames, 5),
        caption=f"caption {number}",
        silent=number % 2 == 0,
    )


def write_shards(folder: Path, count: int, *, shard_bytes: int = 5000, **sizes: int) -> Path:
    """``count`` clips of one kind, a few in each shard."""
    folder.mkdir(parents=True, exist_ok=True)
    with ShardWriter(folder, shard_bytes=shard_bytes) as writer:
        for number in range(count):
            writer.add(numbered_clip(number, **sizes), f"film {number // 4}", 13 * (number % 4))
    return folder
