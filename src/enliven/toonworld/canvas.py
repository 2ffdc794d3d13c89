"""A clip being painted: where a thing is in every frame, and the small region of pixels it can touch."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from enliven.toonworld.palette import Colour
from enliven.toonworld.shapes import Field

Box = tuple[float, float, float, float]
PerFrame = float | Float[Tensor, "f"]


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a thing's own coordinates lie on the canvas, frame by frame.

    Canvas coordinates count frame heights: x from the middle, y from the top. The thing turns by ``roll`` radians
    (clockwise) around ``(x, y)``, the canvas place of its point ``(0, pivot)``; one of its units is ``scale`` heights.
    """

    x: Float[Tensor, "f"]
    y: Float[Tensor, "f"]
    scale: float
    roll: Float[Tensor, "f"] | None = None
    pivot: float = 0.0

    def moved(self, right: PerFrame, down: PerFrame) -> "Placement":
        """The same placement moved by so many of its own units."""
        return replace(self, x=self.x + self.scale * right, y=self.y + self.scale * down)

    def bounds(self, box: Box) -> Box:
        """The canvas rectangle that holds ``box`` (left, top, right, bottom) in every frame."""
        across = torch.tensor([box[0], box[2], box[0], box[2]])
        down = torch.tensor([box[1], box[1], box[3], box[3]]) - self.pivot
        x, y = across[None], down[None]
        if self.roll is not None:
            cos, sin = torch.cos(self.roll)[:, None], torch.sin(self.roll)[:, None]
            x, y = cos * across - sin * down, sin * across + cos * down
        x, y = self.x[:, None] + self.scale * x, self.y[:, None] + self.scale * y
        return x.min().item(), y.min().item(), x.max().item(), y.max().item()

    def local(self, x: Float[Tensor, "w"], y: Float[Tensor, "h"]) -> tuple[Field, Field]:
        """The thing's own coordinates of canvas columns ``x`` and rows ``y``."""
        across = (x - self.x[:, None])[:, None, :] / self.scale
        down = (y - self.y[:, None])[:, :, None] / self.scale
        if self.roll is None:
            return across, down + self.pivot
        cos, sin = torch.cos(self.roll)[:, None, None], torch.sin(self.roll)[:, None, None]
        return cos * across + sin * down, cos * down - sin * across + self.pivot


@dataclass(frozen=True, slots=True)
class Region:
    """A window of the canvas with the coordinates of the thing painted there; ``unit`` is a thing unit in pixels."""

    pixels: Float[Tensor, "f 3 h w"]
    u: Field
    v: Field
    unit: float

    def fill(
        self, shape: Field, colour: Colour, opacity: PerFrame = 1.0, blur: float = 0.0, within: Field | None = None
    ) -> None:
        """Paint the inside of ``shape``, and of ``within``; its edge is one pixel soft, or ``blur`` thing units."""
        cover = (0.5 - shape * (1 / blur if blur else self.unit)).clamp_(0, 1)
        if blur:
            cover = cover * cover * (3 - 2 * cover)
        if within is not None:
            cover = cover * (0.5 - within * self.unit).clamp_(0, 1)
        if isinstance(opacity, Tensor):
            cover = cover * opacity[:, None, None]
        elif opacity != 1.0:
            cover = cover * opacity
        self.pixels.lerp_(self.pixels.new_tensor(colour.rgb).view(1, 3, 1, 1), cover[:, None])


class Canvas:
    """The frames of one clip, ``[f, 3, h, w]`` in 0..1."""

    def __init__(self, pixels: Float[Tensor, "f 3 h w"]) -> None:
        self.pixels = pixels
        height, width = pixels.shape[2:]
        self.columns = (torch.arange(width) + 0.5 - width / 2) / height
        self.rows = (torch.arange(height) + 0.5) / height

    def region(self, placement: Placement, box: Box) -> Region:
        """The pixels that ``box`` of the placed thing can touch in any frame."""
        height, width = self.pixels.shape[2:]
        left, top, right, bottom = placement.bounds(box)
        columns = slice(*_span(left * height + width / 2, right * height + width / 2, width))
        rows = slice(*_span(top * height, bottom * height, height))
        u, v = placement.local(self.columns[columns], self.rows[rows])
        return Region(self.pixels[:, :, rows, columns], u, v, placement.scale * height)


def _span(low: float, high: float, size: int) -> tuple[int, int]:
    return min(max(int(low) - 1, 0), size), min(max(int(high) + 2, 0), size)
