"""What ablations show: people with something on their shirts that can be lost, and places without people."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from jaxtyping import UInt8
from torch import Tensor

from enliven.bench.cases import FIRST_CHARACTER, FPS, KEPT_OUT, SEEN, Case, eight_bit, held_out, long_case
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
    said, cases, seed = held_out(len(KEPT_OUT)), list[Case](), FIRST_PERSON
    while len(cases) < count:
        if sample_character(seed).shirt in MOTIFS:
            turn = len(cases) % len(said)
            order = [replace(case, seed=seed) for case in said[turn:] + said[:turn]]
            cases.append(long_case(order, seconds))
        seed += 1
    return cases


def sights(count: int, seconds: float) -> list[Case]:
    """Places that no network has learnt from."""
    quiet, frames = silence(seconds), round(seconds * FPS)
    return [SightCase(f"{seconds:g} seconds", FIRST_SIGHT + index, quiet, frames) for index in range(count)]


CASES: Mapping[str, Callable[[int, float], list[Case]]] = {"people": dressed_people, "sights": sights}
