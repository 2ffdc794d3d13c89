"""The size of a video that starts from a picture."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from enliven.media.buckets import Resolution, choose_bucket


@runtime_checkable
class ChooseSize(Protocol):
    """Chooses a size for a picture."""

    def __call__(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the video, from those of the picture."""
        ...


@dataclass(frozen=True, slots=True)
class TrainedSize:
    """Of the sizes trained at a resolution, in steps of ``granularity``, the one nearest in aspect (LongCat)."""

    resolution: Resolution
    granularity: int = 16

    def __call__(self, height: int, width: int) -> tuple[int, int]:
        """Raises RequestError where no table fits."""
        return choose_bucket(height, width, self.resolution, self.granularity)


@dataclass(frozen=True, slots=True)
class KeepArea:
    """The aspect of the picture at an ``area`` of about so many pixels and never more, sides in steps (Wan 2.2)."""

    area: int
    step: int

    def __call__(self, height: int, width: int) -> tuple[int, int]:
        """Of rounding the width or the height down first, what stays nearer to the aspect."""
        wide = self._fit((self.area * width / height) ** 0.5)
        tall = self._fit((self.area * height / width) ** 0.5)
        sizes = ((tall, self._fit(self.area / tall)), (self._fit(self.area / wide), wide))
        return min(
            sizes, key=lambda size: max(size[0] * width / (size[1] * height), size[1] * height / (size[0] * width))
        )

    def _fit(self, side: float) -> int:
        return max(1, int((side + 1e-6) // self.step)) * self.step
