"""Small cases for the report."""

import torch

from enliven.bench.cases import FPS, Case
from enliven.toonworld.voice import SPEECH_RATE, Phone, Speech


def case(seconds: float = 1.0, seed: int = 9_000_001, name: str = "babble") -> Case:
    """Somebody babbles: three syllables a second in a rhythm of their own."""
    generator = torch.Generator().manual_seed(seed)
    phones, time = list[Phone](), 0.1
    while time < seconds - 0.3:
        lasts = 0.1 + 0.25 * torch.rand((), generator=generator).item()
        phones += [Phone("b", time, time + 0.08), Phone("a", time + 0.08, time + 0.08 + lasts)]
        time += 0.08 + lasts
    samples = torch.zeros(round(seconds * SPEECH_RATE))
    for phone in phones[1::2]:
        first, stop = (min(len(samples), round(edge * SPEECH_RATE)) for edge in (phone.start, phone.end))
        samples[first:stop] = 0.3 * torch.sin(torch.arange(stop - first) / 12)
    return Case(name, seed, Speech(samples, tuple(phones), "", "test"), round(seconds * FPS))
