"""Crops of video files, for decoders to learn from: nothing is encoded or kept, and a stop changes nothing."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from jaxtyping import UInt8
from torch import Tensor

from enliven.data.films import Film
from enliven.errors import ConfigError, EnlivenError, MediaError
from enliven.media.video import read_moment
from enliven.train.autoencoder import crop
from enliven.train.trainer import Batch

log = logging.getLogger(__name__)

T = TypeVar("T")


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
        hint = f"give films of at least {self.side} x {self.side} pixels and {self.frames} frames; the log has more"
        none = MediaError(f"none of {len(self.films)} films can be learnt from", hint=hint)
        while True:
            crops = [draw_one(self.films, self._take, self.left_out, none) for _ in range(self.batch)]
            yield {"video": torch.stack(crops).transpose(1, 2)}

    def _take(self, film: Film, place: float) -> UInt8[Tensor, "f 3 side side"]:
        video = read_moment(film.path, self.fps, self.frames, place)
        if min(video.shape[2:]) < self.side:
            height, width = video.shape[2:]
            raise MediaError(f"{film.path.name} is {width} x {height}; crops have {self.side} x {self.side} pixels")
        return crop(video, self.side)


def draw_one(things: Sequence[T], take: Callable[[T, float], Tensor], left_out: set[int], none: EnlivenError) -> Tensor:
    """What can be taken of a random one of ``things`` at a random place in it, from 0 to 1.

    One that nothing can be taken of is told, and ``left_out`` from then on. Raises ``none`` when no other is there.
    """
    while len(left_out) < len(things):
        index, place = int(torch.randint(len(things), ())), float(torch.rand(()))
        if index in left_out:
            continue
        try:
            return take(things[index], place)
        except (ConfigError, MediaError) as error:
            left_out.add(index)
            log.warning("%s is left out: %s", things[index], error)
    raise none
