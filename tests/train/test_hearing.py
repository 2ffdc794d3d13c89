"""Tests of the training of the toon audio encoder."""

from pathlib import Path
from random import Random

import pytest
import torch

from enliven.errors import MediaError
from enliven.models.mouth import MOUTH
from enliven.models.networks import HearingParams
from enliven.models.whisper import WhisperParams
from enliven.systems import find_model
from enliven.toonworld.visemes import sound_class
from enliven.toonworld.voice import Phone, load_speech, write_speech
from enliven.train.hearing import (
    HearingObjective,
    break_off,
    correlation,
    hearing_batches,
    hearing_row,
    keep_fixed,
    new_ears,
    nobody_speaks,
    sounds,
    targets,
    train_hearing,
)
from enliven.train.trainer import TrainConfig

EARS = find_model("longcat-toon").params.audio
WHISPER = WhisperParams(
    config={
        "d_model": 32,
        "encoder_layers": 2,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "num_mel_bins": 40,
        "max_source_positions": 100,
    }
)


def test_sounds_are_those_in_the_middle_of_a_frame() -> None:
    phones = (Phone("", 0.0, 0.05), Phone("a", 0.05, 0.1), Phone("ʘ", 0.1, 0.2))
    assert sounds(phones, 5).tolist() == [0, sound_class("a"), -1, -1, -1]
    assert sounds((Phone("a", -1.0, 9.0),), 2).tolist() == [sound_class("a")] * 2


def test_rows_hold_a_mouth_for_every_frame_of_sound() -> None:
    row = hearing_row(load_speech("lips"), 2.4, Random(3), new_ears(EARS)[0])
    assert row["samples"].shape == (38_400,)
    assert row["mouth"].shape == (60, 5)
    assert row["sound"].shape == (60,)
    assert row["mouth"].min() >= 0


def test_the_mouth_shuts_where_a_recording_breaks_off() -> None:
    speech = load_speech("lips")
    broken = break_off(speech, 1.0)
    assert torch.equal(broken.samples[:16_000], speech.samples[:16_000])
    assert not broken.samples[16_000:].any()
    assert targets(speech.phones, 50)[30:, 0].max() > 0.3
    assert targets(broken.phones, 50)[30:, 0].max() == 0


def test_noise_without_a_voice_can_be_as_loud_as_speech() -> None:
    encoder, _ = new_ears(WHISPER)
    levels = [encoder.prepare(nobody_speaks(16_000, Random(seed)).samples).std() for seed in range(20)]
    assert min(levels) == 0
    assert sum(level > 0.03 for level in levels) > 5


@pytest.mark.parametrize("ears", [EARS, WHISPER])
def test_batches_have_a_length_the_encoder_hears(ears: HearingParams | WhisperParams) -> None:
    encoder, _ = new_ears(ears)
    batches = hearing_batches([load_speech("lips")], encoder, seconds=8.0)
    lengths = {next(batches)["samples"].shape[1] / 16_000 for _ in range(6)}
    assert lengths == {encoder.span} if encoder.span else len(lengths) > 1


def test_sound_is_as_strong_as_its_place() -> None:
    """As transformers begins a Whisper, the sound is a twentieth of it."""
    encoder, _ = new_ears(WHISPER)
    row = hearing_row(load_speech("lips"), 2.0, Random(3), encoder)
    embedding = encoder.states(row["samples"][None])[0, :, 0]
    places = encoder.network.get_parameter("embed_positions.weight")
    assert 0.3 < (embedding - places).std() / places.std() < 3


def test_trained_on_ears_keep_what_was_fixed() -> None:
    for ears, fixed in ((EARS, "conv_layers.0"), (WHISPER, "embed_positions")):
        encoder, _ = new_ears(ears)
        encoder.network.requires_grad_(requires_grad=True)
        keep_fixed(encoder)
        still = {name for name, parameter in encoder.network.named_parameters() if not parameter.requires_grad}
        assert still
        assert all(fixed in name for name in still)


def test_the_filter_bank_hears_pitch_and_stays() -> None:
    encoder, _ = new_ears(EARS)
    layer = encoder.network.get_submodule("feature_extractor.conv_layers.0")
    time = torch.arange(16_000) / 16_000
    low, high = (
        layer.conv(torch.sin(2 * torch.pi * pitch * time)[None, None]).std(dim=2)[0, :32].argmax()
        for pitch in (300, 2500)
    )
    assert low < 10
    assert high > 20
    assert not any(parameter.requires_grad for parameter in layer.parameters())


@pytest.mark.parametrize(
    ("ears", "learnt", "fixed"), [(EARS, "encoder.layers", "conv_layers.0"), (WHISPER, "layers.1", "embed_positions")]
)
def test_a_run_trains_all_but_what_is_fixed(
    tmp_path: Path, ears: HearingParams | WhisperParams, learnt: str, fixed: str
) -> None:
    for name in ("question", "numbers"):
        write_speech(load_speech(name), tmp_path / "corpus" / f"{name}.flac")
    settings = TrainConfig(tmp_path / "run", steps=2, dtype="float32", muon="")
    encoder, heads = new_ears(ears)
    before = {name: value.clone() for name, value in encoder.network.state_dict().items()}
    train_hearing(settings, tmp_path / "corpus", encoder, heads)
    moved = {name for name, value in encoder.network.state_dict().items() if not torch.equal(value, before[name])}
    assert any(learnt in name for name in moved)
    assert not any(fixed in name for name in moved)
    assert set(correlation(encoder, heads, [load_speech("question")])) == set(MOUTH)
    with pytest.raises(MediaError, match="no speech in"):
        train_hearing(settings, tmp_path / "empty", encoder, heads)


@pytest.mark.parametrize("ears", [EARS, WHISPER])
def test_a_few_steps_lower_the_loss(ears: HearingParams | WhisperParams) -> None:
    torch.manual_seed(0)
    encoder, heads = new_ears(ears)
    objective = HearingObjective(encoder, heads)
    batch = next(hearing_batches([load_speech("question")], encoder, seconds=6.0))
    parameters = [p for net in objective.networks.values() for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=2e-3)
    losses = []
    for step in range(12):
        total = torch.stack(list(objective.losses(batch, step).values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(total.item())
    assert losses[-1] < 0.7 * losses[0]
