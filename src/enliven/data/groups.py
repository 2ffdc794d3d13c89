"""Toon clips of several people: one picture, a voice for each, and the truth about who is where."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from enliven.data.clips import FPS, RATE
from enliven.errors import RequestError
from enliven.toonworld.character import Character, caption, sample_character
from enliven.toonworld.draw import draw_group, head_boxes
from enliven.toonworld.emphasis import emphasise
from enliven.toonworld.motion import calm_motion
from enliven.toonworld.state import FaceState
from enliven.toonworld.voice import Mouth, Phone, Speech, mouth_track, read_speech

SIZES = {1: (128, 128), 2: (128, 224), 3: (128, 320)}
PAUSE = 0.2  # seconds between one speaker and the next


class Talk(StrEnum):
    """Who speaks when."""

    ONE = "one"  # one speaks, the others listen
    TURNS = "turns"  # one after the other
    ALL = "all"  # at the same time


@dataclass(frozen=True, slots=True)
class GroupClip:
    """A drawn clip of ``p`` people from left to right; who does not speak has zeros for a voice.

    ``heads`` are top, left, bottom and right of each head, in pixels, over all frames.
    """

    frames: UInt8[Tensor, "f 3 h w"]
    voices: Float[Tensor, "p n"]
    states: tuple[FaceState, ...]
    heads: Int[Tensor, "p 4"]
    characters: tuple[int, ...]
    caption: str
    talk: Talk


def make_group(
    seed: int,
    speech: Sequence[Speech],
    *,
    talk: Talk = Talk.ONE,
    frames: int = 61,
    size: tuple[int, int] | None = None,
) -> GroupClip:
    """Draw as many people as there are utterances; ``talk`` decides which of them are heard, and when.

    Characters, motion, and in ``ONE`` who speaks, depend on ``seed``. What does not fit into the clip is cut off.
    """
    chance, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    size = size or SIZES[len(speech)]
    identities = tuple(chance.sample(range(10**6), len(speech)))
    people, voices = [], []
    for identity, said in zip(identities, _arranged(speech, talk, chance, frames / FPS), strict=True):
        samples, mouth = _spoken(said, frames)
        state = calm_motion(frames, FPS, generator)
        state = state.with_mouth(mouth.open, mouth.width, mouth.round, mouth.teeth, mouth.tongue)
        people.append((sample_character(identity), state))
        voices.append(samples)
    pixels = (draw_group(people, size) * 255).round().clamp(0, 255).to(torch.uint8)
    words = group_caption([character for character, _ in people])
    states = tuple(state for _, state in people)
    heads = torch.tensor(head_boxes(people, size))
    return GroupClip(pixels, torch.stack(voices), states, heads, identities, words, talk)


def group_caption(characters: Sequence[Character]) -> str:
    """What a picture of a group shows: the first one in the scene, then who else is there, in few words."""
    first, *others = (caption(character) for character in characters)
    return " ".join([first, *(f"{other.split(' with ')[0]}." for other in others)])  # more is not read by toon models


def any_group(seed: int, speech: Sequence[Path], *, people: int = 2, frames: int = 61) -> GroupClip:
    """Group number ``seed``: who says which of the recordings ``speech``, and when, is left to chance.

    In half of them one speaks and the others listen. Raises RequestError for fewer recordings than people.
    """
    if len(speech) < people:
        raise RequestError(f"{len(speech)} recordings for {people} people", hint="give at least one for each")
    chance = random.Random(-seed - 1)
    talk = chance.choice((Talk.ONE, Talk.ONE, Talk.TURNS, Talk.ALL))
    said = [emphasise(read_speech(chosen), chance) for chosen in chance.sample(list(speech), people)]
    return make_group(seed, said, talk=talk, frames=frames)


def _arranged(speech: Sequence[Speech], talk: Talk, chance: random.Random, seconds: float) -> list[Speech | None]:
    """What each person says, with the pause before it; None for a listener."""
    match talk:
        case Talk.ALL:
            return [_after(chance.uniform(0, PAUSE), said) for said in speech]
        case Talk.ONE:
            speaker = chance.randrange(len(speech))
            start = chance.uniform(0, max(PAUSE, seconds - speech[speaker].seconds))
            return [_after(start, said) if index == speaker else None for index, said in enumerate(speech)]
        case Talk.TURNS:
            order = chance.sample(range(len(speech)), len(speech))
            share = seconds / len(speech)  # everybody gets a word in, though not always the last one
            starts = {person: turn * share for turn, person in enumerate(order)}
            return [_after(starts[index], _cut(said, share - PAUSE)) for index, said in enumerate(speech)]


def _after(start: float, said: Speech) -> Speech:
    """The same words after a pause of ``start`` seconds."""
    silent = round(start * RATE)
    delay = silent / RATE
    phones = tuple(replace(phone, start=phone.start + delay, end=phone.end + delay) for phone in said.phones)
    samples = torch.cat([torch.zeros(silent), said.samples])
    return Speech(samples, (Phone("", 0.0, delay), *phones), said.text, said.voice)


def _cut(said: Speech, seconds: float) -> Speech:
    """The beginning of what is said, up to the end of the last sound that fits whole."""
    phones = tuple(phone for phone in said.phones if phone.end <= seconds)
    end = phones[-1].end if phones else 0.0
    return Speech(said.samples[: round(end * RATE)], phones, said.text, said.voice)


def _spoken(said: Speech | None, frames: int) -> tuple[Float[Tensor, "n"], Mouth]:
    """Sound and mouth of one person for the whole clip."""
    samples = torch.zeros(frames * RATE // FPS)
    if said is None:
        return samples, mouth_track((), frames, FPS)
    heard = min(len(samples), len(said.samples))
    samples[:heard] = said.samples[:heard]
    return samples, mouth_track(said.phones, frames, FPS)
