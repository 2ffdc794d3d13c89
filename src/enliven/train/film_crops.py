"""Crops of video files, for decoders to learn from: nothing is encoded or kept, and a stop changes nothing."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import UInt8
from torch import Tensor

from enliven.data.films import Film
from enliven.errors import MediaError
from enliven.media.video import read_moment
from enliven.train.autoencoder import crop
from enliven.train.trainer import Batch

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FilmCrops:
    """Batches without end: random squares of ``side`` pixels from random moments of ``frames`` frames at ``fps``.

    Which, depends on torch's random numbers alone. A film that cannot be read, or is shorter or smaller than that, is
    told and left out.
    """

    films: Sequence[Film]
    fps: float
    batch: int
    frames: int
    side: int
    left_out: set[int] = field(default_factory=set)

    def __iter__(self) -> Iterator[Batch]:
        """Batches of ``video``: uint8 ``b 3 f side side``. Raises MediaError when no film is left."""
        while True:
            yield {"video": torch.stack([self._draw().transpose(0, 1) for _ in range(self.batch)])}

    def _draw(self) -> UInt8[Tensor, "f 3 side side"]:
        while len(self.left_out) < len(self.films):
            index, place = int(torch.randint(len(self.films), ())), float(torch.rand(()))
            if index in self.left_out:
                continue
            try:
                return crop(self._read(self.films[index], place), self.side)
            except MediaError as error:
                self.left_out.add(index)
                log.warning("%s is left out: %s", self.films[index].path, error)
        raise MediaError(
            f"none of {len(self.films)} films can be learnt from",
            hint=f"give films of at least {self.side} x {self.side} pixels and {self.frames} frames; the log has more",
        )

    def _read(self, film: Film, place: float) -> UInt8[Tensor, "f 3 h w"]:
        video = read_moment(film.path, self.fps, self.frames, place)
        if min(video.shape[2:]) < self.side:
            height, width = video.shape[2:]
            raise MediaError(f"{film.path.name} is {width} x {height}; crops have {self.side} x {self.side} pixels")
        return video
