"""Tests of disturbed speech: the sound changes, its timing does not."""

from random import Random

import pytest
import torch

from enliven.toonworld.voice import Phone, Speech
from enliven.train.augment_speech import change_tempo, cut, disturb, excerpt, insert_pause


def clicks() -> Speech:
    """A click at the start of every phone."""
    starts = [0.5, 0.8, 1.4]
    samples = torch.zeros(32_000)
    for start in starts:
        samples[round(start * 16_000)] = 1
    phones = tuple(Phone("t", start, stop) for start, stop in zip(starts, [0.8, 1.4, 2.0], strict=True))
    return Speech(samples, (Phone("", 0.0, 0.5), *phones), "", "")


def assert_clicks_and_phones_agree(speech: Speech) -> None:
    heard = (speech.samples > 0.3).nonzero()[:, 0] / 16_000
    told = [phone.start for phone in speech.phones if phone.symbol and 0 <= phone.start < speech.seconds - 0.001]
    assert heard.tolist() == pytest.approx(told, abs=2e-4)


def test_timing_survives() -> None:
    assert_clicks_and_phones_agree(clicks())
    assert_clicks_and_phones_agree(insert_pause(clicks(), 2, 0.37))
    for start in (-0.6, 0.0, 0.6, 1.7):
        piece = cut(clicks(), start, 1.2)
        assert len(piece.samples) == 19_200
        assert_clicks_and_phones_agree(piece)


def test_tempo_moves_sound_and_phones_together() -> None:
    slow = change_tempo(clicks(), 0.5)
    assert slow.seconds == pytest.approx(4)
    peaks = [round(phone.start * 16_000) for phone in slow.phones[1:]]
    assert all(slow.samples[peak - 2 : peak + 3].max() > 0.5 for peak in peaks)


def test_excerpts_have_the_length_asked_for_even_of_shorter_speech() -> None:
    for seed in range(20):
        assert len(excerpt(clicks(), 3.2, Random(seed)).samples) == 51_200


def test_disturbed_sound_is_other_sound_at_the_same_time() -> None:
    time = torch.arange(32_000) / 16_000
    burst = torch.sin(2000 * time) * ((time > 1) & (time < 1.2))
    for seed in range(20):
        heard = disturb(burst, Random(seed))
        energy = heard.view(-1, 1600).square().sum(1)
        assert torch.isfinite(heard).all()
        assert energy.argmax() in (10, 11)
    assert not torch.equal(disturb(burst, Random(1)), disturb(burst, Random(2)))
    assert torch.equal(disturb(burst, Random(1)), disturb(burst, Random(1)))
