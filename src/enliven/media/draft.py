"""A finished video as the draft of a finer one: larger, and with another number of frames a second."""

import math
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from enliven.media.video import video_frames, video_length


@dataclass(frozen=True, slots=True)
class Draft:
    """A video of ``shown`` frames at ``rate`` hertz, seen as one of ``count`` frames of another height and width.

    First and last frame stay first and last. Each frame is resized bilinearly, and what lies between two of them is
    blended of both: over a whole video that is trilinear interpolation with aligned corners (LongCat-Video). Frames
    are read as they are needed.
    """

    path: Path
    rate: float
    shown: int
    count: int
    size: tuple[int, int]

    @classmethod
    def open(cls, path: Path, fps: float, size: tuple[int, int]) -> "Draft":
        """A video file that shall have ``fps`` frames a second, and last as long as before. Raises MediaError."""
        shown, rate = video_length(path)
        return cls(path, rate, shown, max(1, round(shown / rate * fps)), size)

    def frames(self, wanted: range) -> Float[Tensor, "3 f height width"]:
        """Some of its frames, in -1..1; those behind the end are like the last. Raises MediaError."""
        places = [self._place(index) for index in wanted]
        first, last = int(places[0]), math.ceil(places[-1])
        frames = islice(video_frames(self.path, self.rate), first, last + 1)
        sized = [F.interpolate(frame[None].float(), self.size, mode="bilinear", align_corners=True) for frame in frames]
        blended = torch.empty(len(places), 3, *self.size)
        for frame, place in zip(blended, places, strict=True):
            before, after = sized[math.floor(place) - first], sized[math.ceil(place) - first]
            torch.lerp(before[0], after[0], place % 1, out=frame)
        return blended.div_(127.5).sub_(1).transpose(0, 1)

    def _place(self, index: int) -> float:
        """Where a frame lies among those shown."""
        return min(index, self.count - 1) * (self.shown - 1) / max(1, self.count - 1)
