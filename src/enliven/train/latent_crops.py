"""Crops of latents that a model has made, for decoders to learn from what they will be given."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from enliven.data.latents import StoredClip, find_clips
from enliven.errors import ConfigError, MediaError
from enliven.train.autoencoder import crop
from enliven.train.film_crops import draw_one
from enliven.train.trainer import Batch


@dataclass(frozen=True, slots=True)
class LatentCrops:
    """Batches without end: random squares of ``side`` cells and ``count`` latent frames of random clips.

    Latents are those of a video from its beginning: one of a single video frame, and then any that follow each other.
    Which, depends on torch's random numbers alone. A clip that cannot be read, is of other ``channels``, or is shorter
    or smaller than that, is told and left out.
    """

    clips: Sequence[StoredClip]
    channels: int
    batch: int
    count: int
    side: int
    left_out: set[int] = field(default_factory=set)

    def __iter__(self) -> Iterator[Batch]:
        """Batches of ``latents``: ``b c count side side``. Raises MediaError when no clip is left."""
        hint = f"give clips of at least {self.count} latent frames of {self.side} x {self.side} cells; the log has more"
        none = MediaError(f"none of {len(self.clips)} generated clips can be learnt from", hint=hint)
        while True:
            crops = [draw_one(self.clips, self._take, self.left_out, none) for _ in range(self.batch)]
            yield {"latents": torch.stack(crops)}

    def _take(self, clip: StoredClip, place: float) -> Float[Tensor, "c count side side"]:
        latents = clip.latents()
        channels, there, height, width = latents.shape
        if channels != self.channels or there < self.count or min(height, width) < self.side:
            raise MediaError(f"it has {there} latent frames of {channels} x {height} x {width}")
        start = 1 + int(place * (there - self.count + 1))
        chosen = torch.cat([latents[:, :1], latents[:, start : start + self.count - 1]], dim=1)
        return crop(chosen.transpose(0, 1), self.side).transpose(0, 1)


def find_generated(folders: Sequence[Path]) -> list[StoredClip]:
    """The clips in folders of shards or of files. Raises ConfigError where there are none."""
    found = [clip for folder in folders for clip in find_clips(folder)]
    if not found:
        raise ConfigError(
            f"there are no generated clips in {', '.join(map(str, folders)) or 'the recipe'}",
            hint="make some with python -m enliven.train.generated",
        )
    return found
