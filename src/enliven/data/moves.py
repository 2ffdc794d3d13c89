"""Training clips that are not where their pivot is: the caption decides over the place, not the picture.

With them a network learns that a scene of a timeline may begin in another place, and in other clothes.
"""

import random
from dataclasses import replace

import torch
from jaxtyping import UInt8
from torch import Tensor

from enliven.data.clips import ToonClip, make_clip
from enliven.toonworld.character import Character, caption, place, sample_character
from enliven.toonworld.draw import draw
from enliven.toonworld.voice import Speech

CONTRAST = 0.08  # of brightness, between skin and wall
STANDS_OUT = 0.2  # between a sweater and what is on it


def make_move(seed: int, speech: Speech | None, *, frames: int = 61, size: tuple[int, int] = (128, 128)) -> ToonClip:
    """Draw one: the same performance in the place of its pivot, in the place it goes on from, and in its own.

    It goes on from where the pivot is, from where it is itself, or from somewhere else; or it comes back to where the
    pivot is.
    """
    chance = random.Random(f"move {seed}")
    home = make_clip(seed, speech, frames=frames, size=size)
    person = sample_character(home.character)
    there = elsewhere(person, chance)
    away = replace(home, frames=_drawn(there, home, size), caption=caption(there), pictured=home.frames)
    match chance.choices(("leaves", "stays", "wanders", "returns"), (3, 3, 1, 2))[0]:
        case "leaves":
            return replace(away, before=home.frames)
        case "stays":
            return away
        case "wanders":
            return replace(away, before=_drawn(elsewhere(person, chance), home, size))
        case _:
            return replace(home, before=away.frames)


def elsewhere(character: Character, chance: random.Random) -> Character:
    """The same person in front of what has another name, every other time in another sweater."""
    while True:
        other = sample_character(chance.randrange(2**31))
        differs = place(other) != place(character)  # in words: walls behind a sun or hills have no name
        seen = abs(other.wall.brightness - character.skin.brightness) >= CONTRAST
        if differs and seen and abs(other.cloth.brightness - character.accent.brightness) >= STANDS_OUT:
            break
    moved = replace(character, scene=other.scene, wall=other.wall, decor=other.decor)
    return moved if chance.random() < 0.5 else replace(moved, shirt=other.shirt, cloth=other.cloth)


def _drawn(character: Character, clip: ToonClip, size: tuple[int, int]) -> UInt8[Tensor, "f 3 h w"]:
    return (draw(character, clip.state, size) * 255).round().clamp(0, 255).to(torch.uint8)
