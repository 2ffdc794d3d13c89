"""Head, eyes, nose and mouth. Unit: half the head height; the middle of the head is the origin."""

import torch
from jaxtyping import Float
from torch import Tensor

from enliven.toonworld.canvas import Canvas, Placement, Region
from enliven.toonworld.character import Character, EyeShape, FacialHair, Glasses, Hair, Person
from enliven.toonworld.palette import BLUSH, INK, WHITE, Colour
from enliven.toonworld.shapes import Field, both, bow, box, circle, cut, ellipse, join, segment
from enliven.toonworld.state import FaceState

GOLD = Colour("yellow", (0.87, 0.7, 0.38))
TONGUE = Colour("pink", (0.93, 0.48, 0.49))
CAVITY = Colour("red", (0.33, 0.07, 0.11))
EYE_RATIO = {EyeShape.ROUND: 1.1, EyeShape.ALMOND: 0.85, EyeShape.WIDE: 1.25}


def paint_head(canvas: Canvas, outline: Placement, face: Placement, character: Character, state: FaceState) -> None:
    """Ears, head, cheeks and the beard that follows the jaw."""
    geometry, skin = character.geometry, character.skin
    width = geometry.head_width
    region = canvas.region(outline, (-1.2, -1.05, 1.2, 1.15))
    u, v = region.u, region.v
    if character.hat or character.hair not in (Hair.BOB, Hair.LONG, Hair.WAVY):
        _paint_ears(region, character)
    if character.earrings:
        region.fill(circle(u.abs() - width - 0.06, v - 0.38, 0.075), character.accent.towards(WHITE, 0.25))
    jaw = torch.where(v < 0, 1.0, 1.0 + 0.045 * _frames(state.mouth_open))
    head = ellipse(u * (1 + geometry.jaw * (v + 0.2)), v, width, jaw)
    region.fill(head, skin)
    lit = ellipse(u + 0.12, v + 0.1, width * 1.02, 1.02)
    region.fill(-lit, skin.towards(INK, 0.3), 0.55, blur=0.22, within=head)
    if character.facial_hair is FacialHair.BEARD:
        bare = ellipse(u, v + 0.05, width * 0.84, 0.5)
        beard = cut(ellipse(u, v, width + 0.02, jaw + 0.05), join(bare, v - 0.14, 0.1), 0.1)
        region.fill(beard, character.hair_colour.towards(skin, 0.08))
        return
    cheeks = canvas.region(face, (-0.8, -0.05, 0.8, 0.7))
    patch = ellipse(cheeks.u.abs() - 0.5, cheeks.v - 0.34, 0.2, 0.15)
    cheeks.fill(patch, BLUSH, 0.1 + 0.2 * skin.brightness, blur=0.2)


def _paint_ears(region: Region, character: Character) -> None:
    ear = ellipse(region.u.abs() - character.geometry.head_width - 0.01, region.v - 0.12, 0.14, 0.19)
    region.fill(ear, character.skin.towards(INK, 0.05))
    region.fill(ear + 0.07, character.skin.towards(BLUSH, 0.35).towards(INK, 0.12), blur=0.06)


def paint_nose(canvas: Canvas, nose: Placement, character: Character) -> None:
    """A small rounded nose."""
    size = character.geometry.nose_size
    region = canvas.region(nose, (-0.25, -0.05, 0.25, 0.45))
    u, v = region.u, region.v - 0.2
    skin = character.skin
    tip = ellipse(u, v, 0.13 * size, 0.1 * size)
    region.fill(tip, skin.towards(BLUSH, 0.25), 0.2 + 0.35 * skin.brightness, blur=0.07)
    region.fill(bow(u, v - 0.09, 0.085 * size, -0.04, 0.02), skin.towards(INK, 0.42))
    region.fill(circle(u + 0.03, v + 0.04, 0.03), WHITE, 0.45, blur=0.05)


def paint_eyes(canvas: Canvas, face: Placement, character: Character, state: FaceState) -> None:
    """Both eyes and brows; the right half is the left one mirrored, except for the gaze."""
    geometry = character.geometry
    across, down = geometry.eye_size, geometry.eye_size * EYE_RATIO[character.eye_shape]
    region = canvas.region(face.moved(0.0, geometry.eye_height), (-0.75, -0.55, 0.75, 0.3))
    side = torch.sign(region.u)
    u, v = region.u.abs() - geometry.eye_distance, region.v
    blink = _frames(state.blink)
    apex = down * (1 - 1.35 * blink)
    lid = -apex * (1 - (u / across) ** 2).clamp(min=0).sqrt()
    white = torch.maximum(ellipse(u, v, across, down), lid - v)
    shown = 5 * (1 - state.blink.clamp(0.8, 1))
    region.fill(white, WHITE.towards(character.skin, 0.06), shown)
    iris_u = u - side * 0.3 * across * _frames(state.gaze_x)
    iris_v = v - 0.25 * down * _frames(state.gaze_y) - 0.02
    iris = circle(iris_u, iris_v, 0.68 * across)
    region.fill(both(iris, white + 0.01), character.eye_colour, shown)
    pupil = circle(iris_u, iris_v, 0.4 * across)
    region.fill(both(pupil, white + 0.01), INK.towards(character.eye_colour, 0.15), shown)
    glint = circle(iris_u + side * 0.27 * across, iris_v + 0.27 * across, 0.21 * across)
    region.fill(both(glint, white + 0.02), WHITE, shown)
    rim = ellipse(u, v, across, apex.abs().clamp(min=0.02)).abs()
    lash = both(rim - (0.03 if character.person is Person.MAN else 0.038), v * torch.sign(apex) - 0.01)
    if character.person is Person.WOMAN:
        lash = join(lash, segment(u, v, (across, -0.03), (across * 1.4, -0.09), 0.026))
    region.fill(lash, INK)
    _paint_brows(region, u, character, state)


def _paint_brows(region: Region, u: Field, character: Character, state: FaceState) -> None:
    geometry, brow = character.geometry, _frames(state.brow)
    v = region.v + geometry.brow_height + 0.07 * brow
    weight = geometry.brow_weight * (0.75 if character.person is Person.WOMAN else 1.0)
    arch = bow(u - 0.01, v, 0.2, 0.06 + 0.03 * brow, weight)
    region.fill(arch, character.hair_colour.towards(INK, 0.35))


def paint_mouth(canvas: Canvas, face: Placement, character: Character, state: FaceState) -> None:
    """Lips, the dark inside, upper teeth and tongue; a beard's moustache is drawn above."""
    geometry, skin = character.geometry, character.skin
    region = canvas.region(face.moved(0.0, geometry.mouth_height), (-0.6, -0.45, 0.6, 0.6))
    opening, rounding = _frames(state.mouth_open), _frames(state.mouth_round)
    half = geometry.mouth_width * (0.72 + 0.56 * _frames(state.mouth_width)) * (1 - 0.48 * rounding)
    height = opening * (0.4 + 0.06 * rounding)
    above, below = 0.36 * height + 0.016, 0.64 * height + 0.016
    smile = 0.075 * (1 - rounding) * (1 - 0.6 * opening)
    u = region.u
    v = region.v + smile * ((u / half) ** 2).clamp(max=1.6) - 0.03
    _paint_facial_hair(region, character, above)
    lips = skin.towards(BLUSH, 0.6 if character.person is not Person.MAN else 0.42).towards(INK, 0.2 * skin.brightness)
    full = geometry.lip * (1 + 0.35 * rounding)
    upper = ellipse(u, v, half + 0.05, above + 0.05 * full)
    lower = ellipse(u, v, half + 0.035, below + 0.095 * full)
    region.fill(torch.where(v < 0, upper, lower), lips)
    inside = torch.where(v < 0, ellipse(u, v, half, above), ellipse(u, v, half, below))
    inside = join(inside, bow(u, v, half, 0.0, 0.018))
    region.fill(inside, CAVITY)
    lift = _frames(state.tongue)
    tongue = ellipse(u, v - below + lift * 0.6 * height, half * 0.62, 0.07 + 0.28 * height)
    shown = ((state.mouth_open * 10 - 0.3) * (1 - 0.8 * state.mouth_round)).clamp(0, 1)
    region.fill(both(tongue, inside + 0.015), TONGUE, shown)
    edge = _frames(state.teeth) * torch.minimum(0.02 + 0.9 * height, torch.full_like(height, 0.13))
    teeth = torch.maximum(inside + 0.012, v + above - 0.01 - edge)
    region.fill(teeth, WHITE.towards(skin, 0.04), (state.teeth * 4).clamp(0, 1))


def _paint_facial_hair(region: Region, character: Character, above: Float[Tensor, "f 1 1"]) -> None:
    u, v = region.u, region.v
    colour = character.hair_colour.towards(character.skin, 0.08)
    if character.facial_hair is FacialHair.GOATEE:
        region.fill(ellipse(u, v - 0.36, 0.2, 0.13), colour)
    if character.facial_hair in (FacialHair.MOUSTACHE, FacialHair.BEARD):
        region.fill(bow(u, v + 0.08 + above, 0.27, 0.07, 0.068), colour)


def paint_glasses(canvas: Canvas, face: Placement, character: Character) -> None:
    """Rims around the eyes, a bridge, and temples to the ears."""
    if not character.glasses:
        return
    geometry = character.geometry
    region = canvas.region(face.moved(0.0, geometry.eye_height), (-1.1, -0.4, 1.1, 0.4))
    u, v = region.u.abs() - geometry.eye_distance, region.v
    lens = circle(u, v - 0.02, 0.28) if character.glasses is Glasses.ROUND else box(u, v - 0.02, 0.29, 0.23, 0.09)
    frame = INK.towards(character.accent, 0.35) if character.skin.brightness > 0.45 else GOLD
    region.fill(lens, WHITE, 0.12)
    bridge = bow(region.u, v + 0.03, geometry.eye_distance - 0.27, 0.04, 0.026)
    temple = segment(u, v, (0.28, -0.05), (geometry.head_width - geometry.eye_distance + 0.02, -0.02), 0.026)
    region.fill(join(lens.abs() - 0.028, join(bridge, temple)), frame)


def _frames(values: Float[Tensor, "f"]) -> Float[Tensor, "f 1 1"]:
    return values[:, None, None]
