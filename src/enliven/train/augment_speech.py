"""Synthetic speech made as varied as recordings: rooms, microphones, noise, music, level, tempo and pauses."""

import math
from dataclasses import replace
from random import Random

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn import functional

from enliven.toonworld.voice import SPEECH_RATE, Phone, Speech

ROOM = SPEECH_RATE // 4  # samples of an echo


def excerpt(speech: Speech, seconds: float, random: Random) -> Speech:
    """``seconds`` of ``speech`` at another tempo, with a pause put in and quiet before or after it at times."""
    speech = change_tempo(speech, random.uniform(0.85, 1.2))
    if random.random() < 0.3:
        speech = insert_pause(speech, random.randrange(1, len(speech.phones)), random.uniform(0.1, 1.2))
    spare = speech.seconds - seconds
    start = random.uniform(min(0.0, spare) - 0.2, max(0.0, spare) + 0.2)
    return cut(speech, start, seconds)


def change_tempo(speech: Speech, factor: float) -> Speech:
    """Play ``speech`` ``factor`` times as fast, the pitch following."""
    count = round(len(speech.samples) / factor)
    samples = functional.interpolate(speech.samples[None, None], size=count, mode="linear")[0, 0]
    phones = tuple(replace(p, start=p.start / factor, end=p.end / factor) for p in speech.phones)
    return replace(speech, samples=samples, phones=phones)


def insert_pause(speech: Speech, before: int, seconds: float) -> Speech:
    """Put ``seconds`` of silence before phone number ``before``."""
    start = speech.phones[before].start
    split, gap = round(start * SPEECH_RATE), torch.zeros(round(seconds * SPEECH_RATE))
    later = tuple(replace(p, start=p.start + seconds, end=p.end + seconds) for p in speech.phones[before:])
    return replace(
        speech,
        samples=torch.cat([speech.samples[:split], gap, speech.samples[split:]]),
        phones=(*speech.phones[:before], Phone("", start, start + seconds), *later),
    )


def cut(speech: Speech, start: float, seconds: float) -> Speech:
    """``seconds`` of ``speech`` from ``start`` on, with silence where it has no sound; ``start`` may be negative."""
    first, count = round(start * SPEECH_RATE), round(seconds * SPEECH_RATE)
    kept = speech.samples[max(0, first) : max(0, first + count)]
    before = min(count, max(0, -first))
    samples = functional.pad(kept, (before, 0))[:count]
    samples = functional.pad(samples, (0, count - len(samples)))
    phones = tuple(replace(p, start=p.start - start, end=p.end - start) for p in speech.phones)
    return replace(speech, samples=samples, phones=phones)


def disturb(samples: Float[Tensor, "n"], random: Random) -> Float[Tensor, "n"]:
    """The same sound through a random room and microphone, with noise and at times music, at a random level."""
    generator = torch.Generator().manual_seed(random.getrandbits(40))
    size = 2 ** math.ceil(math.log2(len(samples) + ROOM))
    spectrum = torch.fft.rfft(samples, size)
    level = spectrum.abs().square().mean().sqrt() + 1e-2
    if random.random() < 0.5:
        spectrum = spectrum * torch.fft.rfft(_room(random, generator), size)
    spectrum = spectrum * _microphone(len(spectrum), generator)
    spectrum = spectrum + level * 10 ** (-random.uniform(10, 50) / 20) * _hiss(len(spectrum), random, generator)
    heard = torch.fft.irfft(spectrum, size)[: len(samples)]
    if random.random() < 0.25:
        music, share = _music(len(samples), random), 10 ** (-random.uniform(10, 30) / 20)
        heard = heard + music * (share * heard.norm() / music.norm())
    return heard * 10 ** (random.uniform(-30, 6) / 20)


def _hiss(bins: int, random: Random, generator: torch.Generator) -> Complex[Tensor, "bins"]:
    """The spectrum of noise between white and brown, of unit level."""
    slope = torch.linspace(1e-3, 1, bins) ** random.uniform(-0.9, 0)
    noise = slope * torch.randn(bins, dtype=torch.complex64, generator=generator)
    return noise / noise.abs().square().mean().sqrt()


def _room(random: Random, generator: torch.Generator) -> Float[Tensor, "n"]:
    """An impulse followed by decaying noise."""
    time = torch.arange(ROOM) / SPEECH_RATE
    tail = torch.randn(len(time), generator=generator) * torch.exp(-6.9 * time / random.uniform(0.1, 0.6))
    tail = tail * random.uniform(0.1, 0.7) / tail.norm()
    tail[0] = 1
    return tail


def _microphone(bins: int, generator: torch.Generator) -> Float[Tensor, "bins"]:
    """A smooth random gain over frequency, 5 dB up or down on average."""
    knots = torch.randn(1, 1, 12, generator=generator) * 5
    decibels = functional.interpolate(knots, size=bins, mode="linear", align_corners=True)
    return 10 ** (decibels[0, 0] / 20)


def _music(count: int, random: Random) -> Float[Tensor, "n"]:
    """A few steady notes with overtones that swell and fade."""
    time = torch.arange(count) / SPEECH_RATE
    sound = torch.zeros(count)
    for _ in range(random.randint(2, 4)):
        pitch = 110 * 2 ** (random.randint(0, 30) / 12)
        swell = 0.5 + 0.5 * torch.sin(2 * math.pi * (random.uniform(0.1, 1) * time + random.random()))
        for overtone in (1, 2, 3):
            sound += swell / overtone * torch.sin(2 * math.pi * overtone * pitch * time + 6 * random.random())
    return sound
