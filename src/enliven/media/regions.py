"""Where each person is in the picture, resized with the picture and down to the backbone's tokens."""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import interpolate

from enliven.errors import RequestError
from enliven.media.image import covering

MARGIN = 0.1  # of an equal share of the picture, on all its sides (LongCat-Video-Avatar)


class Box(NamedTuple):
    """Pixels of a picture from ``top`` and ``left`` up to, not including, ``bottom`` and ``right``: y first."""

    top: int
    left: int
    bottom: int
    right: int

    def overlap(self, other: "Box") -> int:
        """How many pixels both hold."""
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        width = min(self.right, other.right) - max(self.left, other.left)
        return max(0, height) * max(0, width)


def check_boxes(boxes: Sequence[Box], height: int, width: int) -> None:
    """Raises RequestError for a box that is empty, that leaves the picture, or that shares pixels with another."""
    for number, box in enumerate(boxes, start=1):
        what = f"the box of speaker {number}, {list(box)},"
        if box.top >= box.bottom or box.left >= box.right:
            raise RequestError(f"{what} is empty", hint="give top, left, bottom, right: y first, the smaller one first")
        if box.top < 0 or box.left < 0 or box.bottom > height or box.right > width:
            raise RequestError(
                f"{what} leaves the picture, which is {height} high and {width} wide",
                hint="give pixels of the picture as it is in the file: top, left, bottom, right",
            )
    for (first, box), (second, other) in combinations(enumerate(boxes, start=1), 2):
        if box.overlap(other):
            raise RequestError(
                f"the boxes of speakers {first} and {second} share {box.overlap(other)} pixels",
                hint="move the edge between them, or give masks where people overlap",
            )


def box_masks(boxes: Sequence[Box], height: int, width: int) -> Bool[Tensor, "p height width"]:
    """One mask for each box. Raises RequestError as ``check_boxes`` does."""
    check_boxes(boxes, height, width)
    masks = torch.zeros(len(boxes), height, width, dtype=torch.bool)
    for mask, box in zip(masks, boxes, strict=True):
        mask[box.top : box.bottom, box.left : box.right] = True
    return masks


def equal_boxes(people: int, height: int, width: int) -> tuple[Box, ...]:
    """People side by side in equal shares, less a margin: what the published code takes when nothing is known."""
    share = width // people
    rows, columns = ((int(side * MARGIN), int(side * (1 - MARGIN))) for side in (height, share))
    return tuple(
        Box(rows[0], index * share + columns[0], rows[1], index * share + columns[1]) for index in range(people)
    )


def bounding_box(mask: Bool[Tensor, "h w"]) -> Box:
    """The smallest box that holds a mask, which must not be empty."""
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


def speaker_regions(masks: Bool[Tensor, "p h w"], height: int, width: int) -> Bool[Tensor, "1 regions height width"]:
    """What the backbone is told (``Conditioning.regions``): each speaker, then the background, at the size of a frame.

    ``masks`` lie on the picture as it is in the file. Raises RequestError where a speaker is cut off with the edges
    that do not fit into the frame.
    """
    background = ~masks.any(0, keepdim=True)
    regions = fit_masks(torch.cat([masks, background]).float(), height, width) > 0
    for number, region in enumerate(regions[:-1], start=1):
        if not region.any():
            raise RequestError(
                f"nothing of speaker {number} is left in a frame of {height} x {width}",
                hint="give a size of the shape of the picture",
            )
    return regions[None]


def fit_masks(masks: Float[Tensor, "classes h w"], height: int, width: int) -> Float[Tensor, "classes height width"]:
    """Masks resized as ``fit_to`` resizes the picture: covering the frame, the middle kept (LongCat-Video-Avatar)."""
    scale = max(height / masks.shape[1], width / masks.shape[2])
    covering = (max(height, int(masks.shape[1] * scale)), max(width, int(masks.shape[2] * scale)))
    resized = interpolate(masks[None], size=covering, mode="bilinear", align_corners=False)[0]
    top, left = (covering[0] - height) // 2, (covering[1] - width) // 2
    return resized[:, top : top + height, left : left + width]


def fit_box(box: Box, size: tuple[int, int], height: int, width: int) -> Box:
    """A box of a picture of ``size`` (height, width), moved as ``fit_to`` moves the picture; empty where it is cut off.

    Boxes that share no pixels share none afterwards.
    """
    frame, cover = (height, width), covering(size, height, width)
    edges = (
        round(edge * cover[axis] / size[axis]) + frame[axis] // 2 - cover[axis] // 2
        for edge, axis in zip(box, (0, 1, 0, 1), strict=True)
    )
    return Box(*(min(max(0, edge), frame[axis]) for edge, axis in zip(edges, (0, 1, 0, 1), strict=True)))


def token_masks(
    masks: Float[Tensor, "*b classes height width"], grid: tuple[int, int]
) -> Bool[Tensor, "*b classes h w"]:
    """Which tokens of a ``grid`` of (rows, columns) belong to each class, by the nearest pixel."""
    flat = masks.reshape(-1, 1, *masks.shape[-2:])
    return (interpolate(flat, size=grid, mode="nearest") > 0).reshape(*masks.shape[:-2], *grid)
