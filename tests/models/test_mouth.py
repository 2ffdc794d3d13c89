"""Tests of the mouth read off speech features, with the shipped encoder."""

from pathlib import Path

import pytest
import torch

import enliven
from enliven.errors import WeightsError
from enliven.models.audio import Wav2VecEncoder
from enliven.models.mouth import MouthFromSpeech
from enliven.models.networks import load_network
from enliven.toonworld.voice import load_speech, mouth_track, shipped_speech

WEIGHTS = Path(enliven.__file__).with_name("weights") / "longcat-toon"


@pytest.fixture(scope="module")
def encoder() -> Wav2VecEncoder:
    return load_network(WEIGHTS / "audio")


@pytest.fixture(scope="module")
def heads() -> MouthFromSpeech:
    return MouthFromSpeech.load(WEIGHTS / "audio_mouth.safetensors")


@pytest.mark.parametrize("name", shipped_speech()[:6])
def test_the_shipped_encoder_hears_the_mouth(encoder: Wav2VecEncoder, heads: MouthFromSpeech, name: str) -> None:
    speech = load_speech(name)
    heard = heads.mouth(encoder.encode(speech.samples).features).open
    true = mouth_track(speech.phones, len(heard), 25.0).open
    assert torch.corrcoef(torch.stack([heard, true]))[0, 1] > 0.8


def test_the_shipped_encoder_keeps_the_mouth_shut_in_silence(encoder: Wav2VecEncoder, heads: MouthFromSpeech) -> None:
    for quiet in (torch.zeros(48_000), 1e-3 * torch.randn(48_000)):
        assert heads.mouth(encoder.encode(quiet).features).open.max() < 0.05


def test_every_layer_carries_the_mouth(encoder: Wav2VecEncoder, heads: MouthFromSpeech) -> None:
    speech = load_speech("hello")
    by_layer, _, _ = heads(encoder.encode(speech.samples).features)
    true = mouth_track(speech.phones, len(by_layer), 25.0).open
    for layer in range(encoder.layers):
        assert torch.corrcoef(torch.stack([by_layer[:, layer, 0], true]))[0, 1] > 0.75


def test_saved_heads_read_the_same(heads: MouthFromSpeech, tmp_path: Path) -> None:
    heads.save(tmp_path / "heads.safetensors")
    features = torch.randn(7, 3, 96)
    assert torch.equal(
        MouthFromSpeech.load(tmp_path / "heads.safetensors").mouth(features).open, heads.mouth(features).open
    )
    with pytest.raises(WeightsError, match="cannot read mouth heads"):
        MouthFromSpeech.load(tmp_path / "absent.safetensors")
