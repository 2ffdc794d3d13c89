"""Clips without people: animals and things that move in front of the same places. Nobody speaks in them.

They are the general video of hybrid-modality training (Soul, section 3.2).
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import torch
from jaxtyping import Float
from torch import Tensor

from enliven.toonworld.canvas import Canvas, Placement, Region
from enliven.toonworld.character import Character, article, place, sample_character
from enliven.toonworld.palette import CLOTHS, INK, WHITE, Colour
from enliven.toonworld.scene import paint_scene
from enliven.toonworld.shapes import box, circle, ellipse, join, segment

Seconds = Float[Tensor, "f"]


class Kind(StrEnum):
    """What is seen; the words stand in captions."""

    CAT = "cat sits"
    FISH = "fish swims"
    BIRD = "bird flies"
    BALL = "ball bounces"
    BALLOON = "balloon floats"
    BUTTERFLY = "butterfly flutters"


@dataclass(frozen=True, slots=True)
class Sight:
    """An animal or a thing, and the place behind it."""

    kind: Kind
    colour: Colour
    accent: Colour
    behind: Character
    pace: float
    phase: float
    leftward: bool


def sample_sight(seed: int) -> Sight:
    """Choose one by chance; the same seed gives the same sight."""
    chance = random.Random(f"sight {seed}")
    behind = sample_character(chance.randrange(2**31))
    colours = [colour for colour in CLOTHS if abs(colour.brightness - behind.wall.brightness) > 0.12]
    return Sight(
        kind=chance.choice(list(Kind)),
        colour=chance.choice(colours),
        accent=chance.choice(CLOTHS),
        behind=behind,
        pace=chance.uniform(0.75, 1.25),
        phase=chance.uniform(0, 2 * math.pi),
        leftward=chance.random() < 0.5,
    )


def sight_caption(sight: Sight) -> str:
    """One sentence that says what is seen."""
    return f"{article(sight.colour).capitalize()} {sight.kind} in front of {place(sight.behind)}."


def draw_sight(sight: Sight, frames: int, fps: float, size: tuple[int, int] = (128, 128)) -> Float[Tensor, "f 3 h w"]:
    """The clip in 0..1 at ``size`` (height, width)."""
    pixels = paint_scene(sight.behind, size).repeat(frames, 1, 1, 1)
    PAINTERS[sight.kind](Canvas(pixels), sight, sight.pace * torch.arange(frames) / fps)
    return pixels


def _paint_cat(canvas: Canvas, sight: Sight, time: Seconds) -> None:
    sway = _wave(time, 3.1, sight.phase)
    body = Placement(torch.zeros_like(time), torch.full_like(time, 0.74), 0.2)
    swing = _field(1.35 + 0.3 * _wave(time, 1.7, sight.phase))
    region = canvas.region(body, (-1.6, -1.2, 2.4, 1.3))
    u, v = region.u, region.v
    region.fill(segment(u * 1.3 / swing, v, (0.5, 0.9), (1.35, 0.1), 0.17), sight.colour.towards(INK, 0.15))
    region.fill(ellipse(u, v - 0.2, 0.85, 1.0), sight.colour)
    region.fill(ellipse(u, v - 0.4, 0.42, 0.6), sight.colour.towards(WHITE, 0.4))
    head = Placement(0.012 * sway, 0.5 + 0.006 * _wave(time, 2.3, 1.0), 0.16, roll=0.08 * sway)
    face = canvas.region(head, (-1.3, -1.5, 1.3, 1.2))
    for side in (-1, 1):
        ear = segment(face.u, face.v, (side * 0.55, -0.5), (side * 0.68, -0.85), 0.3)
        face.fill(ear, sight.colour)
    face.fill(ellipse(face.u, face.v, 1.0, 0.85), sight.colour)
    lids = _field(1 - 0.95 * _blink(time, sight.phase))
    _pair(face, 0.38, lambda u: ellipse(u, face.v + 0.1, 0.16, 0.22 * lids), WHITE)
    _pair(face, 0.38, lambda u: ellipse(u, face.v + 0.1, 0.08, 0.2 * lids), INK)
    face.fill(ellipse(face.u, face.v - 0.3, 0.12, 0.09), Colour("pink", (0.9, 0.55, 0.6)))


def _paint_fish(canvas: Canvas, sight: Sight, time: Seconds) -> None:
    region, flip = _gliding(canvas, sight, time, height=0.5, scale=0.16)
    u, v = flip * region.u, region.v
    tail = _field(0.35 * _wave(time, 0.5, sight.phase))
    region.fill(ellipse(u + 1.25, v - tail * (u + 0.6).clamp(max=0), 0.45, 0.6), sight.accent)
    region.fill(join(ellipse(u, v, 1.0, 0.6), ellipse(u + 0.7, v, 0.6, 0.3), 0.2), sight.colour)
    region.fill(ellipse(u + 0.1, v - 0.1, 0.3, 0.22), sight.colour.towards(INK, 0.25))
    _eye(region, u - 0.55, v + 0.12, 0.17)


def _paint_bird(canvas: Canvas, sight: Sight, time: Seconds) -> None:
    region, flip = _gliding(canvas, sight, time, height=0.35, scale=0.13)
    u, v = flip * region.u, region.v
    lift = _field(_wave(time, 0.55, sight.phase))
    region.fill(segment(u, v, (0.85, -0.15), (1.35, 0.0), 0.1), Colour("orange", (0.93, 0.6, 0.2)))
    region.fill(join(ellipse(u, v, 0.95, 0.5), circle(u - 0.7, v + 0.3, 0.42), 0.2), sight.colour)
    region.fill(segment(u, v, (-0.8, 0.0), (-1.4, -0.1), 0.2), sight.colour.towards(INK, 0.2))
    region.fill(ellipse(u + 0.15, v + 0.55 * lift, 0.5, 0.16 + 0.45 * lift.abs()), sight.accent)
    _eye(region, u - 0.8, v + 0.35, 0.13)


def _paint_ball(canvas: Canvas, sight: Sight, time: Seconds) -> None:
    bounce = _wave(time, 2.4, sight.phase).abs()
    middle = Placement(0.2 * _wave(time, 7.0, sight.phase), 0.8 - 0.4 * bounce, 0.1)
    shadow = canvas.region(Placement(middle.x, torch.full_like(time, 0.91), 0.1), (-1.2, -0.4, 1.2, 0.4))
    shadow.fill(ellipse(shadow.u, shadow.v, 0.9, 0.2), INK, 0.25, blur=0.2)
    region = canvas.region(middle, (-1.1, -1.1, 1.1, 1.1))
    disc = circle(region.u, region.v, 1.0)
    region.fill(disc, sight.colour)
    turn = 2 * middle.x / middle.scale
    cos, sin = _field(turn.cos()), _field(turn.sin())
    region.fill((cos * region.u + sin * region.v).abs() - 0.2, sight.accent, within=disc)


def _paint_balloon(canvas: Canvas, sight: Sight, time: Seconds) -> None:
    sway = _wave(time, 3.7, sight.phase)
    middle = Placement(0.18 * _wave(time, 9.0, sight.phase), 0.38 + 0.1 * _wave(time, 5.0, 1.0), 0.16, roll=0.12 * sway)
    region = canvas.region(middle, (-1.2, -1.3, 1.2, 3.0))
    u, v = region.u, region.v
    bend = u - 0.12 * torch.sin(3 * v + _field(sway))
    region.fill(box(bend, v - 1.9, 0.03, 0.8), INK.towards(WHITE, 0.3))
    region.fill(join(ellipse(u, v, 0.85, 1.0), circle(u, v - 1.05, 0.12), 0.1), sight.colour)
    region.fill(ellipse(u + 0.3, v + 0.4, 0.18, 0.28), WHITE, 0.6, blur=0.1)


def _paint_butterfly(canvas: Canvas, sight: Sight, time: Seconds) -> None:
    x, y = 0.25 * _wave(time, 6.0, sight.phase), 0.45 + 0.12 * _wave(time, 3.3, 0.5 + sight.phase)
    region = canvas.region(Placement(x, y, 0.14, roll=0.25 * _wave(time, 4.1, 2.0)), (-1.5, -1.3, 1.5, 1.3))
    spread = _field(0.65 + 0.35 * _wave(time, 0.7, sight.phase))
    u, v = region.u / spread, region.v
    wings = join(circle(u.abs() - 0.6, v + 0.4, 0.6), circle(u.abs() - 0.5, v - 0.5, 0.45), 0.1)
    region.fill(wings, sight.colour)
    region.fill(circle(u.abs() - 0.65, v + 0.45, 0.28), sight.accent)
    region.fill(segment(region.u, v, (0.0, -0.6), (0.0, 0.7), 0.11), INK)


PAINTERS: dict[Kind, Callable[[Canvas, Sight, Seconds], None]] = {
    Kind.CAT: _paint_cat,
    Kind.FISH: _paint_fish,
    Kind.BIRD: _paint_bird,
    Kind.BALL: _paint_ball,
    Kind.BALLOON: _paint_balloon,
    Kind.BUTTERFLY: _paint_butterfly,
}


def _gliding(canvas: Canvas, sight: Sight, time: Seconds, height: float, scale: float) -> tuple[Region, float]:
    """Something that hovers to and fro without turning; the number is -1 for what looks to the left."""
    x = 0.17 * _wave(time, 8.0, sight.phase)
    y = height + 0.05 * _wave(time, 3.0, sight.phase + 1)
    return canvas.region(Placement(x, y, scale), (-2.0, -1.3, 2.0, 1.3)), -1.0 if sight.leftward else 1.0


def _eye(region: Region, u: Tensor, v: Tensor, radius: float) -> None:
    region.fill(circle(u, v, radius), WHITE)
    region.fill(circle(u - 0.2 * radius, v, 0.55 * radius), INK)


def _pair(region: Region, distance: float, shape: Callable[[Tensor], Tensor], colour: Colour) -> None:
    """The same shape left and right of the middle."""
    region.fill(shape(region.u.abs() - distance), colour)


def _wave(time: Seconds, period: float, phase: float) -> Seconds:
    return torch.sin(2 * math.pi * time / period + phase)


def _blink(time: Seconds, phase: float) -> Seconds:
    """Near 1 for a moment every three seconds."""
    return ((_wave(time, 3.0, phase) - 0.97) / 0.03).clamp(0, 1)


def _field(values: Seconds) -> Float[Tensor, "f 1 1"]:
    return values[:, None, None]
