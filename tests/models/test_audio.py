"""Tests of the audio encoder."""

from pathlib import Path

import pytest
import torch
from transformers import Wav2Vec2Config

from enliven.errors import MediaError, WeightsError
from enliven.models.audio import SpeechFeatures, Wav2VecEncoder
from enliven.models.networks import load_network, save_network
from golden_files import golden


def small(**changes: object) -> Wav2VecEncoder:
    torch.manual_seed(0)
    settings: dict[str, object] = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "conv_dim": (8, 8),
        "conv_stride": (20, 16),
        "conv_kernel": (40, 32),
        "conv_bias": True,
        "feat_extract_norm": "layer",
        "num_conv_pos_embeddings": 4,
        "num_conv_pos_embedding_groups": 2,
    }
    return Wav2VecEncoder(Wav2Vec2Config(**(settings | changes)), rate=25.0).eval()


def speech(seconds: float) -> torch.Tensor:
    time = torch.arange(round(seconds * 16_000)) / 16_000
    return 0.1 * torch.sin(700 * time) * torch.sin(9 * time).abs() + 0.01 * torch.sin(5000 * time)


def test_published_path() -> None:
    file = golden("wav2vec2_path")
    case = file.case("emb")
    encoder = Wav2VecEncoder(Wav2Vec2Config(**file.config), rate=float(case.args["fps"])).eval()
    encoder.load_published({f"wav2vec2.{name}": value for name, value in file.state_dict.items()})
    heard = encoder.encode(case.inputs["speech"].float(), noise=case.inputs["noise_floor_randn"].float())
    torch.testing.assert_close(heard.features, case.outputs["emb"].float(), atol=5e-5, rtol=0)


@pytest.mark.parametrize("name", ["w0", "w1"])
def test_published_windows(name: str) -> None:
    case = golden("audio_window").case(name)
    full, stride = case.inputs["full_audio_emb"], case.args["audio_stride"]
    frames, new = case.args["num_frames"], case.args["num_frames"] - case.args["num_cond_frames"]
    for clip in range(case.args["chunks"]):
        windows = SpeechFeatures(full, 25.0).windows(range(clip * new, clip * new + frames), stride=stride)
        assert torch.equal(windows, case.outputs[f"chunk{clip}"][0])


def test_windows_clamp_before_the_start() -> None:
    features = SpeechFeatures(torch.arange(6.0).reshape(6, 1, 1), 25.0)
    assert features.windows(range(-1, 1)).flatten(1).tolist() == [[0, 0, 0, 0, 1], [0, 0, 0, 1, 2]]


def test_a_window_of_ten_hears_80_ms_before_and_after_a_video_frame() -> None:
    features = torch.arange(1.0, 13).reshape(12, 1, 1)
    for outside, first, last in (("zero", 0, 0), ("repeat", 1, 12)):
        windows = SpeechFeatures(features, 50.0, outside).windows(range(-3, 8), 10, 2).flatten(1)
        assert windows[3].tolist() == [first] * 4 + [1, 2, 3, 4, 5, 6]  # frame 0: 2f - 4 to 2f + 5
        assert windows[5].tolist() == list(range(1, 11))
        assert windows[0].tolist() == [first] * 10
        assert windows[10].tolist() == [11, 12, *[last] * 8]


def test_averages_are_those_of_whole_video_frames() -> None:
    features = SpeechFeatures(torch.arange(7.0).reshape(7, 1, 1), 50.0)
    assert features.averaged(25.0).flatten().tolist() == [0.5, 2.5, 4.5]
    assert features.averaged(50.0).flatten().tolist() == list(range(7))


def test_training_hears_what_encoding_hears() -> None:
    encoder = small()
    states = encoder.states(encoder.prepare(speech(2))[None])
    torch.testing.assert_close(states[0], encoder.encode(speech(2)).features, atol=1e-5, rtol=0)


@pytest.mark.parametrize("samples", [1, 300, 640, 16_000, 16_639, 80_000])
def test_one_feature_per_whole_video_frame(samples: int) -> None:
    assert len(small().encode(speech(6)[:samples]).features) == max(1, samples // 640)


def test_short_speech_is_encoded_whole_and_long_speech_almost_the_same() -> None:
    whole, cut = small(), small()
    cut.piece, cut.margin = 8.0, 2.0
    sound = speech(17.3)
    expected, pieces = whole.encode(sound).features, cut.encode(sound).features
    assert len(list(cut.pieces(432, len(sound)))) > 3
    assert pieces.shape == expected.shape
    # Frames see all of their piece, so pieces differ a little from the whole; a shifted piece would differ a lot.
    error, shifted = (pieces - expected).square().mean(), (expected[1:] - expected[:-1]).square().mean()
    assert error < 0.05 * shifted
    assert torch.equal(cut.encode(sound[:100_000]).features, whole.encode(sound[:100_000]).features)


def test_silence_is_not_null_audio_and_not_speech() -> None:
    encoder = small()
    quiet = encoder.silence(50).features
    assert len(quiet) == 50
    assert quiet.abs().amax(dim=(1, 2)).min() > 0.1
    assert not torch.allclose(quiet, encoder.encode(speech(2)).features, atol=0.1)


def test_encoding_repeats_and_depends_on_the_seed() -> None:
    encoder = small()
    first, again, other = (encoder.encode(speech(1), seed=seed).features for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_no_samples_are_refused() -> None:
    with pytest.raises(MediaError, match="0 samples"):
        small().encode(torch.zeros(0))


@pytest.mark.parametrize("stable", [False, True])
def test_saved_encoder_hears_the_same(tmp_path: Path, stable: bool) -> None:
    encoder = small(do_stable_layer_norm=stable)
    save_network(encoder, tmp_path, torch.float32)
    loaded = load_network(tmp_path)
    assert torch.equal(loaded.encode(speech(1)).features, encoder.encode(speech(1)).features)


@pytest.mark.parametrize("stable", [False, True])
def test_states_are_those_of_the_transformers_library(stable: bool) -> None:
    encoder = small(do_stable_layer_norm=stable)
    sound = speech(1)[None]
    expected = encoder.network(sound, output_hidden_states=True)
    states = encoder(sound, torch.arange(float(expected.last_hidden_state.shape[1])))
    torch.testing.assert_close(states[:, :, -1], expected.last_hidden_state, atol=1e-5, rtol=0)
    torch.testing.assert_close(states[:, :, 0], expected.hidden_states[1], atol=1e-5, rtol=0)


def test_weights_of_another_size_are_refused() -> None:
    with pytest.raises(WeightsError, match="another shape"):
        small(hidden_size=32).load_published(small().network.state_dict())
