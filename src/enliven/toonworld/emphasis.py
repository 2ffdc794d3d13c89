"""Synthetic voices are monotonous. Here they raise and drop their voice as people do, and the mouth goes along."""

import math
from dataclasses import replace
from random import Random

import torch
from torch.nn import functional

from enliven.toonworld.voice import SPEECH_RATE, Speech, with_effort

KNOT = 0.35  # seconds from one change of the voice to the next: about a word
SPREAD = 6.0  # decibels, standard deviation of the most expressive speaker
PLAIN = 0.2  # share of utterances left as they are


def emphasise(speech: Speech, random: Random) -> Speech:
    """The same words with a level that wanders by some decibels from word to word; efforts follow it."""
    if random.random() < PLAIN or not len(speech.samples):
        return speech
    spread = random.uniform(0.2, 1) * SPREAD
    knots = math.ceil(speech.seconds / KNOT) + 1
    levels = torch.tensor([random.gauss(0, spread) for _ in range(knots)])
    decibels = functional.interpolate(
        levels[None, None], size=round((knots - 1) * KNOT * SPEECH_RATE) + 1, mode="linear", align_corners=True
    )[0, 0, : len(speech.samples)]
    louder = speech.samples * 10 ** (decibels / 20)
    return with_effort(replace(speech, samples=louder / max(1.0, louder.abs().max().item())))
