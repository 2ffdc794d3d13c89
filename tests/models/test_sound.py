"""Tests of the preparation of speech."""

import math

import numpy
import pyloudnorm
import pytest
import torch

from enliven.models import sound
from enliven.models.sound import filtered, loudness, loudness_gain, prepare
from golden_files import golden


def noise(seconds: float, level: float = 0.1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    envelope = torch.linspace(0, 40, round(seconds * 16_000)).sin().abs()
    return level * envelope * torch.randn(len(envelope), generator=generator)


def test_published_steps() -> None:
    case = golden("wav2vec2_path").case("emb")
    speech, floor = case.inputs["speech"].float(), case.inputs["noise_floor_randn"].float()
    gain = loudness_gain(speech)
    torch.testing.assert_close(speech * gain, case.outputs["loudness_normalised"].float(), atol=1e-6, rtol=0)
    passed = filtered(speech, gain, noise=floor)
    torch.testing.assert_close(passed, case.outputs["after_noise_and_lowpass"].float(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("seconds", [0.4, 1.0, 2.34567, 9.99])
def test_loudness_is_that_of_the_reference_meter(seconds: float) -> None:
    samples = noise(seconds)
    expected = pyloudnorm.Meter(16_000).integrated_loudness(samples.double().numpy())
    assert loudness(samples) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("samples", [torch.zeros(16_000), noise(0.3), noise(1.0, level=1e-7)])
def test_silence_and_snippets_keep_their_level(samples: torch.Tensor) -> None:
    assert loudness_gain(samples) == 1.0
    assert loudness(samples) == -math.inf


def test_pieces_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = noise(5)
    whole = prepare(samples, noise=torch.ones(len(samples)))
    monkeypatch.setattr(sound, "PIECE", 16_000)
    torch.testing.assert_close(prepare(samples, noise=torch.ones(len(samples))), whole, atol=1e-6, rtol=0)


def test_prepared_sound_is_standard_and_low() -> None:
    prepared = prepare(noise(3)).double().numpy()
    assert abs(prepared.mean()) < 1e-5
    assert prepared.std() == pytest.approx(1, abs=1e-4)
    spectrum = numpy.abs(numpy.fft.rfft(prepared)) ** 2
    assert spectrum[3 * 6000 :].sum() < 0.01 * spectrum.sum()
