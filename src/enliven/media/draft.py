"""A finished video as the draft of a finer one: larger, and with another number of frames a second."""

import math
from collections import deque
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from enliven.media.video import video_frames, video_length


class Reel:
    """The frames of a video by number. Those asked for last are kept: forwards, each is decoded once."""

    def __init__(self, path: Path, rate: float) -> None:
        """Frames at ``rate`` hertz."""
        self.path, self.rate = path, rate
        self._wind_back()

    def within(self, wanted: range) -> list[UInt8[Tensor, "3 h w"]]:
        """Neighbouring frames; what lies before the last ones asked for is read from the beginning again.

        Raises MediaError.
        """
        if wanted.start < self._first:
            self._wind_back()
        while self._first < wanted.start:
            if self._kept:
                self._kept.popleft()
            else:
                next(self._coming, None)
            self._first += 1
        self._kept.extend(islice(self._coming, max(0, len(wanted) - len(self._kept))))
        return list(islice(self._kept, len(wanted)))

    def _wind_back(self) -> None:
        self._coming, self._first = video_frames(self.path, self.rate), 0
        self._kept: deque[Tensor] = deque()


@dataclass(frozen=True, slots=True)
class Draft:
    """A video of ``shown`` frames on a ``reel``, seen as one of ``count`` frames of another height and width.

    First and last frame stay first and last. Each frame is resized bilinearly, and what lies between two of them is
    blended of both: over a whole video that is trilinear interpolation with aligned corners (LongCat-Video). Frames
    are read as they are needed, so that clip after clip the video is read once.
    """

    reel: Reel
    shown: int
    count: int
    size: tuple[int, int]

    @classmethod
    def open(cls, path: Path, fps: float, size: tuple[int, int]) -> "Draft":
        """A video file that shall have ``fps`` frames a second, and last as long as before. Raises MediaError."""
        shown, rate = video_length(path)
        return cls(Reel(path, rate), shown, max(1, round(shown / rate * fps)), size)

    def frames(self, wanted: range) -> Float[Tensor, "3 f height width"]:
        """Some of its frames, in -1..1; those behind the end are like the last. Raises MediaError."""
        places = [self._place(index) for index in wanted]
        first, last = int(places[0]), math.ceil(places[-1])
        frames = self.reel.within(range(first, last + 1))
        sized = [F.interpolate(frame[None].float(), self.size, mode="bilinear", align_corners=True) for frame in frames]
        blended = torch.empty(len(places), 3, *self.size)
        for frame, place in zip(blended, places, strict=True):
            before, after = sized[math.floor(place) - first], sized[math.ceil(place) - first]
            torch.lerp(before[0], after[0], place % 1, out=frame)
        return blended.div_(127.5).sub_(1).transpose(0, 1)

    def _place(self, index: int) -> float:
        """Where a frame lies among those shown."""
        return min(index, self.count - 1) * (self.shown - 1) / max(1, self.count - 1)
