"""Training clips of failures, captioned with the words of the negative prompt (Soul 3.2).

Guidance leads away from what a network makes of the negative prompt without sound, so it has to see just that: half of
the clips are told the whole negative prompt, half only what fails in them, and half of them hear nothing.
"""

import random
import re
from dataclasses import replace

import torch

from enliven.data.clips import ToonClip, make_clip
from enliven.toonworld.character import sample_character
from enliven.toonworld.failures import NEGATIVE_PROMPT, Failure, draw_failure
from enliven.toonworld.voice import Speech

CAPTIONS = frozenset({NEGATIVE_PROMPT, *Failure})
NAMED = re.compile(r" \d+ failure -?\d+$")


def failure_name(source: str, start: int, seed: int) -> str:
    """The source of a failure that a model makes: what it is made of, from which video frame on, and by which seed."""
    return f"{source} {start} failure {seed}"


def shows_failure(caption: str | None, source: str = "") -> bool:
    """Whether a clip is a failure: a drawn one by its ``caption``, one that a model made by the name of its ``source``.

    Its caption does not tell: any words may say what fails.
    """
    return caption in CAPTIONS or NAMED.search(source) is not None


def make_failure(seed: int, speech: Speech | None, *, frames: int = 61, size: tuple[int, int] = (128, 128)) -> ToonClip:
    """Draw one. Its pivot is as it should be; so is, in half of the clips, what it goes on from."""
    chance = random.Random(f"failed clip {seed}")
    failure = chance.choice(list(Failure))
    clean = make_clip(seed, speech, frames=frames, size=size)
    pixels = draw_failure(failure, sample_character(clean.character), clean.state, size, seed)
    deaf = chance.random() < 0.5
    return replace(
        clean,
        frames=(pixels * 255).round().to(torch.uint8),
        samples=clean.samples[:0] if deaf else clean.samples,
        caption=NEGATIVE_PROMPT if chance.random() < 0.5 else failure.value,
        pictured=clean.frames,
        before=clean.frames if chance.random() < 0.5 else None,
    )
