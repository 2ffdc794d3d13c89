"""What ablations show: people with something on their shirts that can be lost, people who move, and empty places."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from jaxtyping import UInt8
from torch import Tensor

from enliven.bench.cases import (
    FIRST_CHARACTER,
    FPS,
    KEPT_OUT,
    SEEN,
    Case,
    MovedCase,
    another_place,
    eight_bit,
    held_out,
    long_case,
)
from enliven.errors import ConfigError
from enliven.toonworld.character import Shirt, sample_character
from enliven.toonworld.sights import draw_sight, sample_sight, sight_caption
from enliven.toonworld.voice import silence

MOTIFS = (Shirt.STRIPE, Shirt.STAR, Shirt.HEART, Shirt.DISC)
FIRST_PERSON = FIRST_CHARACTER + 200
FIRST_SIGHT = FIRST_CHARACTER + 700


@dataclass(frozen=True, slots=True)
class SightCase(Case):
    """A place without people, from the first frame of the true clip on."""

    @property
    def prompt(self) -> str:
        """What the picture shows, in words."""
        return sight_caption(sample_sight(self.seed))

    def picture(self, size: tuple[int, int]) -> UInt8[Tensor, "3 h w"]:
        """The picture that goes in, at ``size`` (height, width)."""
        return eight_bit(draw_sight(sample_sight(self.seed), 1, FPS, size))[0]

    def drawn(self, frames: slice = slice(None), size: tuple[int, int] = SEEN) -> UInt8[Tensor, "f 3 h w"]:
        """Some frames of the true clip, at ``size`` (height, width)."""
        return eight_bit(draw_sight(sample_sight(self.seed), self.frames, FPS, size))[frames]


def dressed_people(count: int, seconds: float) -> list[Case]:
    """People who have something on their shirts; each begins with another sentence."""
    return _people(count, seconds, lambda seed: sample_character(seed).shirt in MOTIFS)


def sights(count: int, seconds: float) -> list[Case]:
    """Places that no network has learnt from."""
    quiet, frames = silence(seconds), round(seconds * FPS)
    return [SightCase(f"{seconds:g} seconds", FIRST_SIGHT + index, quiet, frames) for index in range(count)]


def movers(count: int, seconds: float) -> list[MovedCase]:
    """People who are asked to be elsewhere, and in another sweater, in the second half."""
    cases = _people(count, seconds, _can_move)
    return [MovedCase(case.name, case.seed, case.speech, case.frames) for case in cases]


def _people(count: int, seconds: float, fits: Callable[[int], bool]) -> list[Case]:
    """The first people who fit, by their seeds; each begins with another sentence."""
    said, cases, seed = held_out(len(KEPT_OUT)), list[Case](), FIRST_PERSON
    while len(cases) < count:
        if fits(seed):
            turn = len(cases) % len(said)
            order = [replace(case, seed=seed) for case in said[turn:] + said[:turn]]
            cases.append(long_case(order, seconds))
        seed += 1
    return cases


def _can_move(seed: int) -> bool:
    with suppress(ConfigError):
        return bool(another_place(seed))
    return False


CASES: Mapping[str, Callable[[int, float], Sequence[Case]]] = {
    "people": dressed_people,
    "scenes": movers,
    "sights": sights,
}
