"""The calm place behind a person; it never moves."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from enliven.toonworld.canvas import Canvas, Placement, Region
from enliven.toonworld.character import Character, Scene
from enliven.toonworld.palette import INK, WHITE, Colour
from enliven.toonworld.shapes import box, circle, ellipse, join, segment

LEAF = Colour("green", (0.38, 0.62, 0.42))
WOOD = Colour("brown", (0.66, 0.47, 0.33))


def paint_scene(character: Character, size: tuple[int, int]) -> Float[Tensor, "1 3 h w"]:
    """The background of a character at ``size`` (height, width), in 0..1."""
    pixels = torch.tensor(character.wall.rgb).view(1, 3, 1, 1).repeat(1, 1, *size)
    canvas = Canvas(pixels)
    middle = Placement(torch.zeros(1), torch.zeros(1), scale=1.0)
    half = size[1] / size[0] / 2
    region = canvas.region(middle, (-half, 0.0, half, 1.0))
    region.fill(0.85 - region.v + 0 * region.u, character.wall.towards(INK, 0.22), blur=1.1)
    region.fill(ellipse(region.u, region.v - 0.35, half, 0.3), character.wall.towards(WHITE, 0.5), 0.5, blur=0.5)
    if character.scene in DECORATIONS:
        DECORATIONS[character.scene](region, character, half)
    return pixels


def _window(region: Region, character: Character, half: float) -> None:
    u, v = region.u + half - 0.14, region.v - 0.3
    sky = Colour("blue", (0.62, 0.82, 0.95))
    region.fill(box(u, v, 0.25, 0.25, 0.02), character.wall.towards(WHITE, 0.85))
    pane = box(u.abs() - 0.11, v.abs() - 0.11, 0.095, 0.095)
    region.fill(pane, sky)
    region.fill(torch.maximum(pane, circle(u + 0.05, v - 0.3, 0.24)), LEAF.towards(sky, 0.35))


def _hills(region: Region, character: Character, half: float) -> None:
    u, v = region.u, region.v
    far = 0.58 + 0.07 * torch.sin(5.5 * u + 1) - v
    near = 0.74 + 0.06 * torch.sin(6.5 * u - 1) - v
    region.fill(circle(u - half + 0.16, v - 0.17, 0.075), WHITE.towards(character.wall, 0.15))
    region.fill(far, character.decor.towards(character.wall, 0.35))
    region.fill(near, character.decor.towards(INK, 0.12))


def _sun(region: Region, character: Character, half: float) -> None:  # noqa: ARG001
    disc = circle(region.u - 0.12, region.v - 0.42, 0.4)
    region.fill(disc, character.decor.towards(WHITE, 0.4), 0.6, blur=0.25)
    region.fill(disc, character.decor.towards(WHITE, 0.2))


def _shelf(region: Region, character: Character, half: float) -> None:
    u, v = region.u - half, region.v
    for left, top, colour in ((-0.08, 0.1, character.decor), (-0.16, 0.14, WOOD), (-0.24, 0.11, LEAF)):
        middle, tall = (top + 0.34) / 2, (0.34 - top) / 2
        region.fill(box(u - left, v - middle, 0.034, tall, 0.01), colour.towards(character.wall, 0.15))
    region.fill(box(u + 0.1, v - 0.355, 0.26, 0.018, 0.008), WOOD)
    region.fill(box(u + 2 * half - 0.06, v - 0.62, 0.24, 0.018, 0.008), WOOD)
    region.fill(box(u + 2 * half - 0.1, v - 0.54, 0.06, 0.065, 0.03), character.decor)


def _plant(region: Region, character: Character, half: float) -> None:
    u, v = region.u + half - 0.11, region.v - 0.62
    leaves = circle(u, v, 0.0)
    for tip in ((-0.1, -0.2), (0.0, -0.34), (0.1, -0.22)):
        leaves = join(leaves, segment(u, v, (0.0, 0.08), tip, 0.042))
    region.fill(leaves, LEAF)
    region.fill(box(u, v - 0.22, 0.085, 0.12, 0.02), character.decor.towards(INK, 0.08))


def _lamp(region: Region, character: Character, half: float) -> None:
    u, v = region.u - half + 0.13, region.v
    glow = Colour("yellow", (1.0, 0.93, 0.7))
    region.fill(circle(u, v - 0.28, 0.1), glow, 0.8, blur=0.35)
    region.fill(segment(u, v, (0.0, -0.1), (0.0, 0.2), 0.008), INK.towards(character.wall, 0.3))
    region.fill(torch.maximum(circle(u, v - 0.29, 0.11), v - 0.29), character.decor.towards(INK, 0.08))


DECORATIONS: dict[Scene, Callable[[Region, Character, float], None]] = {
    Scene.WINDOW: _window,
    Scene.HILLS: _hills,
    Scene.SUN: _sun,
    Scene.SHELF: _shelf,
    Scene.PLANT: _plant,
    Scene.LAMP: _lamp,
}
