"""What the report asks for: people and sentences that no network has learnt from."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import cycle
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from enliven.data.moves import elsewhere
from enliven.errors import ConfigError
from enliven.media.audio import mono_16k
from enliven.toonworld import draw
from enliven.toonworld.character import Character, Scene, caption, sample_character
from enliven.toonworld.motion import calm_motion
from enliven.toonworld.state import FaceState
from enliven.toonworld.voice import SPEECH_RATE, Phone, Speech, load_speech, mouth_track, read_speech, silence

FPS = 25.0
SETTLE = 5  # frames after the portrait in which the mouth finds its place
FIRST_CHARACTER = 9_000_000
KEPT_OUT = ("weather", "question", "story")  # spoken by voices that were kept out of training
SEEN = (128, 128)  # height and width of what judges see
UNTOLD = (Scene.HILLS, Scene.SUN)  # places whose caption does not name the colour of the wall
PLACES = 2000  # that are tried
PAUSE = 0.3  # seconds between the sentences of a long speech


@dataclass(frozen=True, slots=True)
class Case:
    """One video to be made: who speaks, what is heard and for how long."""

    name: str
    seed: int
    speech: Speech
    frames: int

    @property
    def character(self) -> Character:
        """Who is seen."""
        return sample_character(self.seed)

    @property
    def prompt(self) -> str:
        """What the picture shows, in words."""
        return caption(self.character)

    @property
    def portrait(self) -> UInt8[Tensor, "3 128 128"]:
        """The picture of who speaks, as judges see it."""
        return self.picture(SEEN)

    def picture(self, size: tuple[int, int]) -> UInt8[Tensor, "3 h w"]:
        """The picture that goes in, at ``size`` (height, width)."""
        return eight_bit(draw.portrait(self.character, size)[None])[0]

    @property
    def state(self) -> FaceState:
        """A true performance: the mouth that this speech asks for, and some calm motion."""
        mouth = mouth_track(self.speech.phones, self.frames, FPS)
        calm = calm_motion(self.frames, FPS, torch.Generator().manual_seed(self.seed))
        return calm.with_mouth(mouth.open, mouth.width, mouth.round, mouth.teeth, mouth.tongue)

    def drawn(self, frames: slice = slice(None), size: tuple[int, int] = SEEN) -> UInt8[Tensor, "f 3 h w"]:
        """Some frames of the true performance, at ``size`` (height, width)."""
        return eight_bit(draw.draw(self.character, self.state[frames], size))

    def silent(self) -> "Case":
        """The same person, with nothing to say."""
        return replace(self, name=f"{self.name} silent", speech=silence(self.speech.seconds))


@dataclass(frozen=True, slots=True)
class WordsCase(Case):
    """Somebody who is described, and of whom no portrait is given."""


@cache
def another_place(seed: int) -> Character:
    """A person elsewhere in another sweater; the caption tells the colours of wall and sweater, which are others.

    Raises ConfigError for somebody whose skin stands out from walls of one colour only.
    """
    here, chance = sample_character(seed), random.Random(f"moved {seed}")
    for _ in range(PLACES):
        there = elsewhere(here, chance)
        if there.scene not in UNTOLD and there.wall.name != here.wall.name and there.cloth.name != here.cloth.name:
            return there
    raise ConfigError(f"there is no other place for person {seed}", hint="take another person")


@dataclass(frozen=True, slots=True)
class MovedCase(Case):
    """Somebody who from half of the time on is asked to be elsewhere, in another sweater."""

    @property
    def there(self) -> Character:
        """The same person as then asked for, see ``another_place``."""
        return another_place(self.seed)

    def picture_there(self, size: tuple[int, int]) -> UInt8[Tensor, "3 h w"]:
        """The portrait of that other place, at ``size`` (height, width)."""
        return eight_bit(draw.portrait(self.there, size)[None])[0]

    @property
    def half(self) -> int:
        """The first frame that is asked to be elsewhere."""
        return self.frames // 2

    @property
    def ends(self) -> tuple[slice, slice]:
        """The last second in which nothing can have changed yet, and the last one of all.

        A clip shows one scene, so a new one comes up to half a clip early or late.
        """
        second = int(FPS)
        return slice(self.half - 2 * second, self.half - second), slice(self.frames - second, self.frames)

    @property
    def settled(self) -> slice:
        """All frames from when the change is over, in clips of no more than two seconds: see ``ends``."""
        return slice(self.half + int(FPS), self.frames)

    def drawn(self, frames: slice = slice(None), size: tuple[int, int] = SEEN) -> UInt8[Tensor, "f 3 h w"]:
        """Some frames of the true performance, which changes from one frame to the next."""
        here, there = (self.drawn_as(who, frames, size) for who in (self.character, self.there))
        moved = torch.arange(self.frames)[frames] >= self.half
        return torch.where(moved[:, None, None, None], there, here)

    def drawn_as(
        self, character: Character, frames: slice = slice(None), size: tuple[int, int] = SEEN
    ) -> UInt8[Tensor, "f 3 h w"]:
        """Some frames of the same performance as if nothing changed: by ``character`` all the time."""
        return eight_bit(draw.draw(character, self.state[frames], size))


def held_out(count: int, folder: Path | None = None) -> list[Case]:
    """``count`` people, each with another sentence: of ``folder`` (pairs of .flac and .json), or shipped ones."""
    if folder is None:
        speeches = [(name, load_speech(name)) for name in KEPT_OUT]
    else:
        speeches = [(path.stem, read_speech(path)) for path in sorted(folder.glob("*.flac"))[:count]]
    if not speeches:
        raise ConfigError(
            f"no speech in {folder}", hint="fill it: python -m enliven.toonworld.espeak FOLDER --split test"
        )
    chosen = zip(range(count), cycle(speeches), strict=False)
    return [Case(name, FIRST_CHARACTER + i, speech, round(speech.seconds * FPS)) for i, (name, speech) in chosen]


def long_case(cases: Sequence[Case], seconds: float) -> Case:
    """The first person saying all sentences, again and again, for so long."""
    samples, phones, start = [], list[Phone](), 0.0
    for speech in cycle([case.speech for case in cases]):
        spoken = torch.cat([speech.samples, torch.zeros(round(PAUSE * SPEECH_RATE))])
        samples.append(spoken)
        phones += [replace(p, start=p.start + start, end=p.end + start) for p in speech.phones]
        start += len(spoken) / SPEECH_RATE
        if start >= seconds:
            break
    whole = Speech(torch.cat(samples)[: round(seconds * SPEECH_RATE)], tuple(phones), "", "")
    return Case(f"{seconds:g} seconds", cases[0].seed, whole, round(seconds * FPS))


def recorded_cases(files: Sequence[Path], seconds: float) -> Iterator[Case]:
    """Recordings of people, without phone times, cut to ``seconds``; their truth is the sound alone."""
    for index, path in enumerate(files):
        samples = mono_16k(path)[: round(seconds * SPEECH_RATE)]
        speech = Speech(samples, (), "", path.stem)
        yield Case(path.stem, FIRST_CHARACTER + 100 + index, speech, int(speech.seconds * FPS))


def eight_bit(pixels: Float[Tensor, "f 3 h w"]) -> UInt8[Tensor, "f 3 h w"]:
    """Drawn frames in 0..1 as bytes."""
    return (pixels * 255).round().clamp(0, 255).to(torch.uint8)
