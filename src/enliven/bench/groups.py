"""Groups of people that no network has learnt from, what is asked of them, and each of them looked at alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import torch
from jaxtyping import UInt8
from torch import Tensor

from enliven.bench.cases import FIRST_CHARACTER, FPS, eight_bit
from enliven.data.groups import GroupClip, Talk, make_group
from enliven.media.regions import Box
from enliven.media.speakers import person_boxes
from enliven.toonworld.character import sample_character
from enliven.toonworld.draw import draw_group
from enliven.toonworld.voice import Speech

SECONDS = 4.0


class Kind(StrEnum):
    """What is asked of a group."""

    ONE = "one speaks"
    PLACED = "one speaks, places told"  # in all others they are looked for
    EXCHANGED = "another speaks"
    TURNS = "in turns"


@dataclass(frozen=True, slots=True)
class GroupCase:
    """One video of several people to be made: what is asked, the truth about it, and the picture that goes in."""

    kind: Kind
    seed: int
    clip: GroupClip
    portrait: UInt8[Tensor, "3 h w"]

    @property
    def frames(self) -> int:
        """How many frames are to be made."""
        return len(self.clip.frames)

    @property
    def prompt(self) -> str:
        """What the picture shows, in words."""
        return self.clip.caption

    @property
    def speaks(self) -> list[bool]:
        """Who of the people is heard at all, from left to right."""
        return self.clip.voices.any(1).tolist()

    @property
    def places(self) -> tuple[Box, ...]:
        """Where people truly are, as a request says it; nothing where they are to be found."""
        if self.kind is not Kind.PLACED:
            return ()
        height, width = self.portrait.shape[1:]
        return person_boxes([Box(*head) for head in self.clip.heads.tolist()], height, width)

    def drawn(self, frames: slice = slice(None)) -> UInt8[Tensor, "f 3 h w"]:
        """Some frames of the true performance."""
        return self.clip.frames[frames]


def group_cases(seed: int, speech: Sequence[Speech]) -> tuple[GroupCase, ...]:
    """A video of each kind that starts from the same picture of as many people as there are utterances."""
    frames, chance = round(SECONDS * FPS), FIRST_CHARACTER + 1000 * len(speech) + seed  # pairs and trios differ
    one, turns = (make_group(chance, speech, talk=talk, frames=frames) for talk in (Talk.ONE, Talk.TURNS))
    clips = {Kind.ONE: one, Kind.PLACED: one, Kind.EXCHANGED: exchanged(one), Kind.TURNS: turns}
    return tuple(GroupCase(kind, seed, clip, one.frames[0]) for kind, clip in clips.items())


def exchanged(clip: GroupClip) -> GroupClip:
    """The same people moving in the same way, everybody with the voice and mouth of whom they had to the left."""
    others = (*clip.states[-1:], *clip.states[:-1])
    states = tuple(
        own.with_mouth(other.mouth_open, other.mouth_width, other.mouth_round, other.teeth, other.tongue)
        for own, other in zip(clip.states, others, strict=True)
    )
    people = [(sample_character(each), state) for each, state in zip(clip.characters, states, strict=True)]
    height, width = clip.frames.shape[2:]
    frames = eight_bit(draw_group(people, (height, width)))
    return replace(clip, frames=frames, voices=clip.voices.roll(1, 0), states=states)


def each_alone(frames: UInt8[Tensor, "f 3 h w"], people: int) -> list[UInt8[Tensor, "f 3 h h"]]:
    """Every person of a group from left to right, framed as in a picture of one: a square, the person in its middle.

    In a group everybody is drawn as large and as high as alone, in an equal share of the width. A square wider than
    the picture repeats its edge, which no judge of faces looks at.
    """
    side, width = frames.shape[2:]
    lefts = [round((index + 0.5) * width / people - side / 2) for index in range(people)]
    return [frames[..., (torch.arange(side) + left).clamp(0, width - 1)] for left in lefts]
