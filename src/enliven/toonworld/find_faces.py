"""Finds drawn faces: places whose lines look like the average of many drawn faces, whatever the colours."""

from functools import cache

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

from enliven.toonworld.character import sample_character
from enliven.toonworld.draw import MIDDLE, NARROWEST, draw
from enliven.toonworld.state import FaceState

ROWS = 128  # pictures are searched at this height
PEOPLE = range(40)  # whose average is looked for
FRAMING = 0.28  # half a head's height, in frame heights; drawn people differ from it by 7 % at most
SCALES = (0.93, 1.0, 1.07)
WINDOW = (-0.3, 0.75, 0.68)  # from over the eyes to under the mouth, and to either side, in half head heights
LINES = 21  # pixels: what is wider is colour and not line
ALIKE = 0.34  # correlation with the average from which on something is a face

Box = tuple[int, int, int, int]


def find_faces(picture: UInt8[Tensor, "3 h w"]) -> list[Box]:
    """Top, left, bottom and right of every head in a drawing of the toon world, from left to right."""
    scale = ROWS / picture.shape[1]
    columns = round(picture.shape[2] * scale)
    pixels = interpolate(picture[None].float() / 255, size=(ROWS, columns), mode="area")
    alike, size = torch.stack([_likeness(_lines(pixels), factor) for factor in SCALES]).max(0)
    reach = 2 * round(NARROWEST / 2 * 1.3 * ROWS) + 1  # heads stand farther apart than this
    peaks = (alike == max_pool2d(alike[None], reach, 1, reach // 2)[0]) & (alike > ALIKE)
    faces = []
    for row, column in peaks.nonzero().tolist():
        unit = FRAMING * SCALES[int(size[row, column])] * ROWS
        top, bottom = row - (1 + _centre()) * unit, row + (1 - _centre()) * unit
        edges = (top, column - 0.85 * unit, bottom, column + 0.85 * unit)
        limits = (picture.shape[1], picture.shape[2]) * 2
        top, left, bottom, right = (
            min(limit, max(0, round(e / scale))) for e, limit in zip(edges, limits, strict=True)
        )
        faces.append((top, left, bottom, right))
    return sorted(faces, key=lambda face: face[1])


def _lines(pixels: Float[Tensor, "f 3 h w"]) -> Float[Tensor, "f 1 h w"]:
    """Brightness less that of the surroundings."""
    grey = pixels.mean(1, keepdim=True)
    return grey - avg_pool2d(grey, LINES, 1, LINES // 2, count_include_pad=False)


def _likeness(grey: Float[Tensor, "1 1 h w"], factor: float) -> Float[Tensor, "h w"]:
    """Correlation, -1..1, of the surroundings of each pixel with the average face at a size."""
    face = interpolate(_average_face()[None, None], scale_factor=factor, mode="bilinear", align_corners=False)
    face = face[:, :, : (face.shape[2] - 1) // 2 * 2 + 1, : (face.shape[3] - 1) // 2 * 2 + 1]
    face = face - face.mean()
    mean, square = (avg_pool2d(each, face.shape[2:], 1, _half(face)) for each in (grey, grey.square()))
    spread = (square - mean.square()).clamp(min=1e-4).sqrt() * face.square().sum().sqrt() * face.numel() ** 0.5
    return (_products(grey, face) / spread)[0, 0]


def _products(grey: Float[Tensor, "1 1 h w"], face: Float[Tensor, "1 1 y x"]) -> Float[Tensor, "1 1 h w"]:
    """The sum of products with the face at each pixel, black around the picture; by Fourier, as the face is large."""
    whole = [side + over - 1 for side, over in zip(grey.shape[2:], face.shape[2:], strict=True)]
    summed = torch.fft.irfft2(torch.fft.rfft2(grey, whole) * torch.fft.rfft2(face.flip(2, 3), whole), whole)
    up, left = _half(face)
    return summed[:, :, up : up + grey.shape[2], left : left + grey.shape[3]]


def _half(face: Float[Tensor, "1 1 y x"]) -> tuple[int, int]:
    return face.shape[2] // 2, face.shape[3] // 2


def _centre() -> float:
    """The middle of the window, in half head heights below the middle of the head."""
    return (WINDOW[0] + WINDOW[1]) / 2


@cache
def _average_face() -> Float[Tensor, "h w"]:
    """The mean of many faces, each first brought to the same brightness and contrast."""
    faces = []
    unit = FRAMING * ROWS
    for seed in PEOPLE:
        character = sample_character(seed)
        side = round(ROWS * FRAMING / character.geometry.framing)
        grey = _lines(draw(character, FaceState.neutral(1), (side, side)))[0, 0]
        row, column = round(MIDDLE * side + _centre() * unit), side // 2
        up, across = round((WINDOW[1] - WINDOW[0]) / 2 * unit), round(WINDOW[2] * unit)
        face = grey[row - up : row + up + 1, column - across : column + across + 1]
        faces.append((face - face.mean()) / face.std())
    return torch.stack(faces).mean(0)
