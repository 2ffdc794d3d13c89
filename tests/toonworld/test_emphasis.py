"""Tests of voices that wander in level."""

from random import Random

import torch

from enliven.toonworld.emphasis import emphasise
from enliven.toonworld.voice import load_speech, silence


def test_an_emphasised_voice_says_the_same_sounds_at_other_levels() -> None:
    speech = load_speech("hello")
    louder = next(told for told in (emphasise(speech, Random(seed)) for seed in range(9)) if told is not speech)
    assert [(p.symbol, p.start, p.end) for p in louder.phones] == [(p.symbol, p.start, p.end) for p in speech.phones]
    assert louder.samples.shape == speech.samples.shape
    assert louder.samples.abs().max() <= 1
    change = torch.tensor([b.effort / a.effort for a, b in zip(speech.phones, louder.phones, strict=True)])
    assert change.std() > 0.05


def test_emphasis_is_repeatable_and_passes_over_silence() -> None:
    speech = load_speech("hello")
    assert torch.equal(emphasise(speech, Random(3)).samples, emphasise(speech, Random(3)).samples)
    assert torch.equal(emphasise(silence(1), Random(1)).samples, torch.zeros(16_000))
