"""Hair and hats of a head: what lies behind it and what lies over it. Unit: half the head height."""

import math
from collections.abc import Callable

from enliven.toonworld.canvas import Region
from enliven.toonworld.character import Character, Geometry, Hair, Hat
from enliven.toonworld.palette import INK, WHITE
from enliven.toonworld.shapes import Field, both, bow, box, circle, cut, ellipse, join

BRIM = -0.42
CURLS = ((0.86, -0.22), (0.82, -0.58), (0.56, -0.92), (0.2, -1.1))
BACK_BOX = (-1.5, -1.6, 1.5, 2.2)
FRONT_BOX = (-1.2, -1.55, 1.2, 0.75)


def paint_back_hair(region: Region, character: Character) -> None:
    """The hair seen behind the head and neck."""
    if character.hair not in BACKS:
        return
    shape = BACKS[character.hair](region.u, region.v, character.geometry)
    if character.hat:
        shape = both(shape, BRIM - region.v, 0.1)
    colour = character.hair_colour
    region.fill(shape, colour.towards(INK, 0.04 if character.hair is Hair.CURLY else 0.22))


def paint_front_hair(region: Region, character: Character) -> None:
    """The hair over forehead and temples; never below the hairline."""
    u, v = region.u, region.v
    shape = FRONTS[character.hair](u, v, character.geometry)
    if character.hat:
        shape = both(shape, BRIM - v - 0.1, 0.1)
    colour = character.hair_colour
    region.fill(shape, colour)
    if not character.hat:
        gloss = bow(u + 0.12, v + 0.72, 0.42, 0.16, 0.03)
        region.fill(gloss, colour.towards(WHITE, 0.3), 0.8, blur=0.07, within=shape + 0.06)


def paint_hat(region: Region, character: Character) -> None:
    """A beanie or a cap down to the brows; it covers all hair above its brim."""
    u, v = region.u, region.v
    width = character.geometry.head_width
    dome = ellipse(u, v + 0.3, width + 0.1, 0.98)
    dome = both(dome, v - BRIM - 0.02, 0.05)
    region.fill(dome, character.accent)
    lit = ellipse(u + 0.2, v + 0.3, width + 0.1, 1.05)
    region.fill(-lit, character.accent.towards(INK, 0.4), 0.5, blur=0.2, within=dome)
    if character.hat is Hat.BEANIE:
        region.fill(circle(u, v + 1.3, 0.19), character.accent.towards(WHITE, 0.55))
        band = box(u, v - BRIM + 0.1, width + 0.14, 0.15, 0.13)
        region.fill(band, character.accent.towards(WHITE, 0.35))
    else:
        brim = both(ellipse(u, v - BRIM + 0.04, width * 1.04, 0.21), BRIM - 0.06 - v, 0.05)
        region.fill(brim, character.accent.towards(INK, 0.3))
        region.fill(circle(u, v + 0.82, 0.16), character.accent.towards(WHITE, 0.7))


def _bob_back(u: Field, v: Field, geometry: Geometry) -> Field:
    return box(u, v - 0.02, geometry.head_width + 0.2, 0.98, 0.62)


def _long_back(u: Field, v: Field, geometry: Geometry) -> Field:
    width = geometry.head_width
    return join(ellipse(u, v + 0.05, width + 0.2, 1.0), box(u, v - 1.0, width + 0.22, 1.1, 0.35), 0.3)


def _wavy_back(u: Field, v: Field, geometry: Geometry) -> Field:
    width = geometry.head_width
    waves = ellipse(u.abs() - width - 0.02, v - 0.75, 0.26, 0.3)
    return join(box(u, v - 0.25, width + 0.16, 1.15, 0.6), waves, 0.2)


def _curly_back(u: Field, v: Field, geometry: Geometry) -> Field:
    width = geometry.head_width
    shape = ellipse(u, v + 0.3, width, 0.75)
    for across, down in CURLS:
        shape = join(shape, circle(u.abs() - across * width / 0.86, v - down, 0.36), 0.06)
    return shape


def _bun_back(u: Field, v: Field, geometry: Geometry) -> Field:  # noqa: ARG001
    return circle(u - 0.08, v + 1.14, 0.31)


def _pigtails_back(u: Field, v: Field, geometry: Geometry) -> Field:
    return ellipse(u.abs() - geometry.head_width - 0.2 - 0.1 * v, v - 0.45, 0.25, 0.5)


def _crown(u: Field, v: Field, geometry: Geometry, *, over: float) -> Field:
    return ellipse(u, v + 0.08, geometry.head_width + over, 1.03)


def _short_front(u: Field, v: Field, geometry: Geometry) -> Field:
    crown = _crown(u, v, geometry, over=0.03)
    face = join(ellipse(u, v - 0.3, geometry.head_width * 0.88, 0.84), box(u, v - 0.9, 2.0, 0.98), 0.15)
    sweep = ellipse(u + math.copysign(0.42, geometry.hair_part), v + 0.62, 0.62, 0.24)
    return join(cut(crown, face, 0.08), both(sweep, crown), 0.1)


def _quiff_front(u: Field, v: Field, geometry: Geometry) -> Field:
    lift = ellipse(u - geometry.hair_part, v + 1.0, 0.55, 0.28)
    face = join(ellipse(u, v - 0.3, geometry.head_width * 0.88, 0.86), box(u, v - 0.9, 2.0, 0.98), 0.15)
    return cut(join(_crown(u, v, geometry, over=0.03), lift, 0.2), face, 0.08)


def _bob_front(u: Field, v: Field, geometry: Geometry) -> Field:
    face = join(box(u, v - 0.62, geometry.head_width * 0.82, 0.98, 0.2), box(u, v - 1.45, 2.0, 0.9), 0.1)
    return cut(ellipse(u, v + 0.05, geometry.head_width + 0.2, 1.08), face, 0.05)


def _curly_front(u: Field, v: Field, geometry: Geometry) -> Field:
    shape = cut(_crown(u, v, geometry, over=0.09), ellipse(u, v - 0.35, geometry.head_width * 0.87, 0.82), 0.1)
    for across in (-0.5, 0.0, 0.5):
        shape = join(shape, ellipse(u - across, v + 0.72, 0.3, 0.2), 0.05)
    return cut(shape, box(u, v - 0.9, 2.0, 1.0), 0.1)


def _long_front(u: Field, v: Field, geometry: Geometry) -> Field:
    return _parted(u, v, geometry, crown=ellipse(u, v + 0.05, geometry.head_width + 0.2, 1.08), end=0.45)


def _wavy_front(u: Field, v: Field, geometry: Geometry) -> Field:
    return _parted(u, v, geometry, crown=ellipse(u, v + 0.06, geometry.head_width + 0.16, 1.1), end=0.3)


def _tied_front(u: Field, v: Field, geometry: Geometry) -> Field:
    return _parted(u, v, geometry, crown=_crown(u, v, geometry, over=0.09), end=0.0)


def _parted(u: Field, v: Field, geometry: Geometry, *, crown: Field, end: float) -> Field:
    """A curtain to both sides of the part, ending at height ``end`` beside the cheeks."""
    width, part = geometry.head_width, geometry.hair_part
    left = ellipse(u + 0.32 - part * 0.5, v - 0.4, width * 0.66, 1.06)
    right = ellipse(u - 0.32 - part * 0.5, v - 0.4, width * 0.66, 1.06)
    face = join(join(left, right, 0.1), ellipse(u, v - 0.4, width * 0.9, 0.95), 0.1)
    face = both(face, ellipse(u, v, width * 0.93, 1.1), 0.05)
    return cut(crown, join(face, box(u, v - end - 1.0, 2.0, 1.0), 0.1), 0.04)


Outline = Callable[[Field, Field, Geometry], Field]
BACKS: dict[Hair, Outline] = {
    Hair.BOB: _bob_back,
    Hair.LONG: _long_back,
    Hair.WAVY: _wavy_back,
    Hair.CURLY: _curly_back,
    Hair.BUN: _bun_back,
    Hair.PIGTAILS: _pigtails_back,
}
FRONTS: dict[Hair, Outline] = {
    Hair.SHORT: _short_front,
    Hair.QUIFF: _quiff_front,
    Hair.BOB: _bob_front,
    Hair.CURLY: _curly_front,
    Hair.LONG: _long_front,
    Hair.WAVY: _wavy_front,
    Hair.BUN: _tied_front,
    Hair.PIGTAILS: _tied_front,
}
