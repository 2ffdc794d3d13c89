"""Neck, shirt and hand. Unit: half the head height; the middle of the head is the origin."""

from enliven.toonworld.canvas import Canvas, Placement, Region
from enliven.toonworld.character import Character, Shirt
from enliven.toonworld.palette import INK, WHITE
from enliven.toonworld.shapes import Field, both, box, circle, cut, ellipse, heart, join, segment, star
from enliven.toonworld.state import FaceState

SHOULDER = 1.3
HAND_SIDE = 1.05
REACH = 0.9


def paint_neck(canvas: Canvas, body: Placement, character: Character) -> None:
    """The neck and the shadow that the chin throws on it."""
    region = canvas.region(body, (-0.5, 0.5, 0.5, 1.75))
    u, v = region.u, region.v
    neck = join(box(u, v - 1.0, 0.31, 0.5, 0.1), ellipse(u, v - 1.3, 0.36, 0.28), 0.1)
    region.fill(neck, character.skin.towards(INK, 0.06))
    chin = ellipse(u, v - 0.55, 0.8, 0.72)
    region.fill(chin, character.skin.towards(INK, 0.28), 0.8, blur=0.14, within=neck)


def paint_body(canvas: Canvas, body: Placement, character: Character) -> None:
    """Shoulders and chest with what the shirt shows."""
    region = canvas.region(body, (-1.75, 1.05, 1.75, 2.2))
    u, v = region.u, region.v
    shoulders = character.geometry.shoulders
    torso = join(
        ellipse(u, v - SHOULDER - 0.75, shoulders, 0.72),
        box(u, v - SHOULDER - 0.9, shoulders * 0.7, 0.85, 0.3),
        0.25,
    )
    torso = join(torso, ellipse(u, v - 1.45, 0.52, 0.27), 0.3)
    opening = ellipse(u, v - 1.2, 0.36, 0.24)
    cloth = cut(torso, opening, 0.04)
    region.fill(cloth, character.cloth)
    _paint_motif(region, character, cloth)
    light = ellipse(u + 0.25, v - 2.05, shoulders * 0.92, 0.72)
    region.fill(-light, character.cloth.towards(INK, 0.55), 0.3, blur=0.3, within=cloth)
    trim = character.accent if character.shirt is Shirt.COLLAR else character.cloth.towards(INK, 0.18)
    if character.shirt is Shirt.COLLAR:
        region.fill(_collar(u, v), trim.towards(INK, 0.25))
        region.fill(_collar(u, v + 0.025), trim)
    else:
        region.fill(cut(ellipse(u, v - 1.2, 0.43, 0.31), opening), trim, within=torso)


def _collar(u: Field, v: Field) -> Field:
    across = u.abs()
    flap = segment(across, v, (0.38, 1.2), (0.17, 1.46), 0.11)
    return join(flap, segment(across, v, (0.38, 1.2), (0.42, 1.38), 0.09), 0.1)


def _paint_motif(region: Region, character: Character, cloth: Field) -> None:
    u, v = region.u, region.v - 1.64
    match character.shirt:
        case Shirt.STRIPE:
            region.fill(both(cloth, v.abs() - 0.1), character.accent)
        case Shirt.STAR:
            region.fill(star(u, v, 0.17), character.accent)
        case Shirt.HEART:
            region.fill(heart(u, v, 0.17), character.accent)
        case Shirt.DISC:
            region.fill(circle(u, v, 0.13), character.accent)


def paint_hand(canvas: Canvas, body: Placement, character: Character, state: FaceState) -> None:
    """An open hand that rises into view from below the frame as ``gesture`` goes to 1."""
    if not state.gesture.any():
        return
    hidden = (1 - body.y) / body.scale + 0.45
    rising = body.moved(HAND_SIDE + 0.06 * state.gesture, hidden - REACH * state.gesture)
    region = canvas.region(rising, (-0.4, -0.45, 0.4, 0.9))
    u, v = region.u, region.v
    hand = box(u, v, 0.19, 0.2, 0.13)
    for start, tip in (((-0.13, -0.1), (-0.16, -0.29)), ((0.0, -0.1), (0.0, -0.34)), ((0.13, -0.1), (0.16, -0.29))):
        hand = join(hand, segment(u, v, start, tip, 0.075), 0.03)
    hand = join(hand, segment(u, v, (-0.12, 0.1), (-0.29, -0.04), 0.07), 0.04)
    sleeve = segment(u, v, (0.02, 0.42), (0.12, 1.2), 0.24)
    region.fill(sleeve, character.cloth.towards(INK, 0.12))
    region.fill(hand - 0.025, character.skin.towards(INK, 0.3))
    region.fill(hand, character.skin)
    region.fill(box(u - 0.02, v - 0.28, 0.24, 0.08, 0.07), character.cloth.towards(WHITE, 0.2))
