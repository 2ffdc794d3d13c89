"""Who speaks in a picture: named places, from boxes, mask pictures, or found by a detector of faces."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from PIL import Image
from torch import Tensor

from enliven.errors import MediaError, RequestError
from enliven.media.container import check_file
from enliven.media.image import FORMATS, MOST_BYTES, MOST_PIXELS
from enliven.media.regions import Box, bounding_box, box_masks

# A speaker is more than a face. In face heights: what is added above for hair, below for the chest, at the sides.
ABOVE, BELOW, BESIDE = 0.3, 0.6, 0.25


@dataclass(frozen=True, slots=True)
class Speaker:
    """Somebody in the picture: a box that holds them, the pixels that are them, and what they are called."""

    box: Box
    mask: Bool[Tensor, "h w"]
    name: str = ""


@runtime_checkable
class FaceFinder(Protocol):
    """Finds faces; any detector can be one."""

    def __call__(self, picture: UInt8[Tensor, "3 h w"]) -> Sequence[tuple[int, int, int, int]]:
        """Top, left, bottom and right of every face, in any order."""
        ...


def speakers_in_boxes(boxes: Sequence[Box], picture: Image.Image, names: Sequence[str]) -> tuple[Speaker, ...]:
    """One speaker for each box and name. Raises RequestError for other numbers of them, and as ``check_boxes``."""
    _check_count(len(boxes), "boxes", names)
    masks = box_masks(boxes, picture.height, picture.width)
    return tuple(Speaker(*each) for each in zip(boxes, masks, names, strict=True))


def speakers_in_masks(paths: Sequence[Path], picture: Image.Image, names: Sequence[str]) -> tuple[Speaker, ...]:
    """One speaker for each mask picture, white where they are.

    Raises RequestError: another number than there are names, an empty mask, masks that share pixels, a mask of
    another size than the picture; MediaError: what is no picture.
    """
    _check_count(len(paths), "masks", names)
    masks = [_read_mask(path, picture) for path in paths]
    for (first, mask), (second, other) in combinations(enumerate(masks), 2):
        shared = int((mask & other).sum())
        if shared:
            raise RequestError(
                f"{paths[first].name} and {paths[second].name} share {shared} white pixels",
                hint="give every pixel to one speaker at most",
            )
    return tuple(Speaker(bounding_box(mask), mask, name) for mask, name in zip(masks, names, strict=True))


def find_speakers(finder: FaceFinder, picture: Image.Image, names: Sequence[str]) -> tuple[Speaker, ...]:
    """The people in the picture from left to right, one for each name.

    Raises RequestError when there are more or fewer faces than names.
    """
    pixels = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
    faces = sorted((Box(*face) for face in finder(pixels)), key=lambda face: face.left + face.right)
    if len(faces) != len(names):
        raise RequestError(
            f"{len(faces)} faces were found in the picture, but there are {len(names)} voices",
            hint="say with boxes or masks who is where",
        )
    return speakers_in_boxes(person_boxes(faces, picture.height, picture.width), picture, names)


def person_boxes(faces: Sequence[Box], height: int, width: int) -> tuple[Box, ...]:
    """Boxes of head and chest around faces, inside the picture, none of them over another.

    Neighbours are parted halfway between their faces, along the axis in which those are farther apart.
    """
    boxes = [list(_grown(face, height, width)) for face in faces]
    for (first, face), (second, other) in combinations(enumerate(faces), 2):
        axis = int(abs(_middle(face, 1) - _middle(other, 1)) >= abs(_middle(face, 0) - _middle(other, 0)))
        before, after = (first, second) if _middle(face, axis) <= _middle(other, axis) else (second, first)
        edge = (faces[before][axis + 2] + faces[after][axis]) // 2
        boxes[before][axis + 2] = min(boxes[before][axis + 2], edge)
        boxes[after][axis] = max(boxes[after][axis], edge)
    return tuple(Box(*box) for box in boxes)


def _grown(face: Box, height: int, width: int) -> Box:
    unit = face.bottom - face.top
    return Box(
        max(0, round(face.top - ABOVE * unit)),
        max(0, round(face.left - BESIDE * unit)),
        min(height, round(face.bottom + BELOW * unit)),
        min(width, round(face.right + BESIDE * unit)),
    )


def _middle(box: Box, axis: int) -> float:
    return (box[axis] + box[axis + 2]) / 2


def _check_count(count: int, what: str, names: Sequence[str]) -> None:
    if count != len(names):
        raise RequestError(f"{count} {what} for {len(names)} voices", hint="give one for each voice, in their order")


def _read_mask(path: Path, picture: Image.Image) -> Bool[Tensor, "h w"]:
    """White (or light) is true. A mask is not resized: one of another size was made for another picture."""
    path = check_file(path, MOST_BYTES)
    try:
        with Image.open(path, formats=FORMATS) as image:
            size = image.size
            light = image.convert("L") if size[0] * size[1] <= MOST_PIXELS else None
    except Exception as error:  # decoders meet damaged data with almost any exception
        raise MediaError(f"{path.name} is not a picture that can be read", hint="give a PNG mask") from error
    if size != picture.size or light is None:
        raise RequestError(
            f"the mask {path.name} is {size[0]} x {size[1]}, but the picture {picture.width} x {picture.height}",
            hint="make the mask on the picture itself",
        )
    mask = torch.from_numpy(np.array(light) >= 128)
    if not mask.any():
        raise RequestError(f"the mask {path.name} is black all over", hint="paint the speaker white")
    return mask
