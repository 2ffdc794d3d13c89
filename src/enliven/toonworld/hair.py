"""Hair and hats of a head: what lies behind it and what lies over it. Unit: half the head height."""

from enliven.toonworld.canvas import Region
from enliven.toonworld.character import Character, Hair, Hat
from enliven.toonworld.palette import INK, WHITE
from enliven.toonworld.shapes import Field, both, bow, box, circle, cut, ellipse, join

BRIM = -0.42
CURLS = ((0.86, -0.22), (0.82, -0.58), (0.56, -0.92), (0.2, -1.1))
BACK_BOX = (-1.45, -1.6, 1.45, 1.9)
FRONT_BOX = (-1.2, -1.45, 1.2, 0.75)


def paint_back_hair(region: Region, character: Character) -> None:
    """The hair seen behind the head and neck."""
    shape = _back_shape(region.u, region.v, character)
    if shape is None:
        return
    if character.hat:
        shape = both(shape, BRIM - region.v, 0.1)
    colour = character.hair_colour
    region.fill(shape, colour.towards(INK, 0.04 if character.hair is Hair.CURLY else 0.22))


def _back_shape(u: Field, v: Field, character: Character) -> Field | None:
    width = character.geometry.head_width
    match character.hair:
        case Hair.BOB:
            return box(u, v - 0.02, width + 0.2, 0.98, 0.62)
        case Hair.LONG:
            return join(ellipse(u, v + 0.05, width + 0.2, 1.0), box(u, v - 1.0, width + 0.22, 1.1, 0.35), 0.3)
        case Hair.WAVY:
            waves = ellipse(u.abs() - width - 0.02, v - 0.75, 0.26, 0.3)
            return join(box(u, v - 0.25, width + 0.16, 1.15, 0.6), waves, 0.2)
        case Hair.CURLY:
            return _curls(u, v, width, 0.36)
        case Hair.BUN:
            return circle(u - 0.08, v + 1.14, 0.31)
        case Hair.PIGTAILS:
            return ellipse(u.abs() - width - 0.2 - 0.1 * v, v - 0.45, 0.25, 0.5)
        case _:
            return None


def _curls(u: Field, v: Field, width: float, radius: float) -> Field:
    shape = ellipse(u, v + 0.3, width, 0.75)
    for across, down in CURLS:
        shape = join(shape, circle(u.abs() - across * width / 0.86, v - down, radius), 0.06)
    return shape


def paint_front_hair(region: Region, character: Character) -> None:
    """The hair over forehead and temples; never below the hairline."""
    u, v = region.u, region.v
    shape = _front_shape(u, v, character)
    if character.hat:
        shape = both(shape, BRIM - v - 0.1, 0.1)
    colour = character.hair_colour
    region.fill(shape, colour)
    if not character.hat:
        gloss = bow(u + 0.12, v + 0.72, 0.42, 0.16, 0.03)
        region.fill(gloss, colour.towards(WHITE, 0.3), 0.8, blur=0.07, within=shape + 0.06)


def _front_shape(u: Field, v: Field, character: Character) -> Field:
    geometry = character.geometry
    width, part = geometry.head_width, geometry.hair_part
    side = 1.0 if part > 0 else -1.0
    cropped = character.hair in (Hair.SHORT, Hair.QUIFF)
    crown = ellipse(u, v + 0.08, width + (0.03 if cropped else 0.09), 1.03)
    match character.hair:
        case Hair.SHORT:
            face = join(ellipse(u, v - 0.3, width * 0.88, 0.84), box(u, v - 0.9, 2, 0.98), 0.15)
            sweep = ellipse(u + side * 0.42, v + 0.62, 0.62, 0.24)
            return join(cut(crown, face, 0.08), both(sweep, crown), 0.1)
        case Hair.QUIFF:
            lift = ellipse(u - part, v + 1.0, 0.55, 0.28)
            face = join(ellipse(u, v - 0.3, width * 0.88, 0.86), box(u, v - 0.9, 2, 0.98), 0.15)
            return cut(join(crown, lift, 0.2), face, 0.08)
        case Hair.BOB:
            face = join(box(u, v - 0.62, width * 0.82, 0.98, 0.2), box(u, v - 1.45, 2, 0.9), 0.1)
            return cut(ellipse(u, v + 0.05, width + 0.2, 1.08), face, 0.05)
        case Hair.CURLY:
            shape = cut(crown, ellipse(u, v - 0.35, width * 0.87, 0.82), 0.1)
            for across in (-0.5, 0.0, 0.5):
                shape = join(shape, ellipse(u - across, v + 0.72, 0.3, 0.2), 0.05)
            return cut(shape, box(u, v - 0.9, 2, 1.0), 0.1)
        case Hair.LONG:
            return _parted(u, v, character, crown=ellipse(u, v + 0.05, width + 0.2, 1.08), end=0.45)
        case Hair.WAVY:
            return _parted(u, v, character, crown=ellipse(u, v + 0.06, width + 0.16, 1.1), end=0.3)
        case _:
            return _parted(u, v, character, crown=crown, end=0.0)


def _parted(u: Field, v: Field, character: Character, crown: Field, end: float) -> Field:
    """A curtain to both sides of the part, ending at height ``end`` beside the cheeks."""
    width, part = character.geometry.head_width, character.geometry.hair_part
    left = ellipse(u + 0.32 - part * 0.5, v - 0.4, width * 0.66, 1.06)
    right = ellipse(u - 0.32 - part * 0.5, v - 0.4, width * 0.66, 1.06)
    face = join(join(left, right, 0.1), ellipse(u, v - 0.4, width * 0.9, 0.95), 0.1)
    face = both(face, ellipse(u, v, width * 0.93, 1.1), 0.05)
    return cut(crown, join(face, box(u, v - end - 1.0, 2, 1.0), 0.1), 0.04)


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
