"""Tests of the Whisper encoders."""

import pytest
import torch
from transformers import Wav2Vec2Config, WhisperConfig, WhisperFeatureExtractor, WhisperModel

from enliven.errors import ConfigError, MediaError, WeightsError
from enliven.models.audio import AudioEncoder, Wav2VecEncoder
from enliven.models.whisper import WhisperEncoder, WhisperParams, new_whisper
from golden_files import golden

SMALL = {
    "d_model": 16,
    "encoder_layers": 4,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "num_mel_bins": 40,
    "max_source_positions": 100,
}


def small(**changes: object) -> WhisperEncoder:
    torch.manual_seed(0)
    encoder = new_whisper(WhisperParams(config=SMALL | changes)).eval()
    with torch.no_grad():
        for convolution in (encoder.network.conv1, encoder.network.conv2):
            convolution.weight.mul_(10)  # sounds as loud as places
    return encoder


def speech(seconds: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(round(seconds * 16_000)) / 16_000
    noise = torch.randn(len(time), generator=generator)
    return 0.1 * (torch.sin(700 * time) + 0.3 * noise) * torch.sin(9 * time).abs()


def test_published_five_features() -> None:
    file = golden("whisper_path")
    case = file.case("emb")
    encoder = new_whisper(WhisperParams.from_config(file.config, rate=float(case.args["fps"]), features="five"))
    encoder.load_published({f"model.{name}": value for name, value in file.state_dict.items()})
    heard = encoder.encode(case.inputs["speech_i16"].float() / 32768)
    assert heard.outside == "repeat"
    torch.testing.assert_close(heard.features, case.outputs["emb"], atol=5e-5, rtol=0)


@pytest.mark.parametrize("seconds", [0.01, 1.3, 1.9])
def test_states_are_those_of_the_transformers_library(seconds: float) -> None:
    encoder = small()
    sound = encoder.prepare(speech(seconds))
    extract = WhisperFeatureExtractor(feature_size=40, chunk_length=2)
    mel = torch.from_numpy(extract(sound.numpy(), sampling_rate=16_000)["input_features"])
    expected = encoder.network(mel, output_hidden_states=True)
    heard = encoder.encode(speech(seconds))
    states = torch.stack([*expected.hidden_states[:-1], expected.last_hidden_state], dim=2)[0]
    assert heard.features.shape == (max(1, int(seconds * 50)), 5, 16)
    torch.testing.assert_close(heard.features, states[: len(heard.features)], atol=1e-5, rtol=0)
    torch.testing.assert_close(encoder.states(sound[None])[0], heard.features, atol=1e-5, rtol=0)


@pytest.mark.parametrize("seconds", [2.0, 2.02, 3.66, 3.68, 7.7])
def test_windows_tile_long_speech(seconds: float) -> None:
    encoder = small()
    frames = round(50 * seconds)
    windows = list(encoder.windows(frames))
    assert [frame for _, wanted in windows for frame in wanted] == list(range(frames))
    for start, wanted in windows:
        assert wanted.start - start >= 8 or wanted.start == 0
        assert start + 100 - wanted.stop >= 8 or wanted.stop == frames
    assert len(encoder.encode(speech(seconds)).features) == frames


def test_cuts_do_not_show() -> None:
    """Speech is heard the same to 3% wherever it is cut, but for its place in a window, which Whisper adds to it."""
    encoder = small(max_source_positions=300)
    with torch.no_grad():
        encoder.network.embed_positions.weight.zero_()
    sound, earlier = encoder.prepare(speech(17.0)), 64
    whole = torch.cat(list(encoder.listen(sound)))
    moved = torch.cat(list(encoder.listen(torch.cat([torch.zeros(earlier * 320), sound]))))[earlier:]
    error, shifted = moved[2:] - whole[2:], moved[2:] - whole[1:-1]  # the first two hear the beginning of the sound
    scale = whole.std(dim=(0, 2))
    assert error[:, 0].abs().max() < 1e-4  # the embedding: a spectrogram without seams
    assert (error.square().mean(dim=(0, 2)).sqrt() / scale).max() < 0.03
    assert (shifted.square().mean(dim=(0, 2)).sqrt() / scale).min() > 0.3


def test_five_features_come_at_the_rate_of_the_video() -> None:
    for rate, seconds in ((25.0, 0.03), (25.0, 1.2), (25.0, 4.03), (16.0, 6.1)):
        encoder = new_whisper(WhisperParams(rate, SMALL, "five")).eval()
        heard = encoder.encode(speech(seconds))
        assert heard.features.shape == (max(1, int(seconds * rate)), 5, 16)
        assert heard.rate == rate


@pytest.mark.parametrize("rate", [16.0, 25.0, 30.0])
def test_five_features_reach_the_end_of_the_sound_at_any_rate(rate: float) -> None:
    """At 50 a second, features are hidden states; at any other rate the last is that of the last of them."""
    all_states, video = (new_whisper(WhisperParams(of, SMALL, "five")).eval() for of in (50.0, rate))
    video.load_state_dict(all_states.state_dict())
    ends, heard = (encoder.encode(speech(4)).features[[0, -1]] for encoder in (all_states, video))
    torch.testing.assert_close(heard, ends, atol=1e-4, rtol=0)


def test_five_features_of_a_window_are_the_same_with_gradients() -> None:
    encoder = new_whisper(WhisperParams(25.0, SMALL, "five")).eval()
    sound = encoder.prepare(speech(1.7))
    alone = torch.cat(list(encoder.listen(sound)))
    torch.testing.assert_close(encoder.states(sound[None])[0], alone, atol=1e-5, rtol=0)


def test_loudness_of_a_recording_does_not_matter() -> None:
    encoder = small()
    loud, quiet = encoder.encode(speech(3)).features, encoder.encode(0.05 * speech(3)).features
    torch.testing.assert_close(loud, quiet, atol=1e-4, rtol=0)


def test_silence_is_not_null_audio_and_not_speech() -> None:
    encoder = small()
    quiet = encoder.silence(75).features
    assert len(quiet) == 75
    assert quiet.abs().amax(dim=(1, 2)).min() > 0.1
    assert not torch.allclose(quiet, encoder.encode(speech(1.5)).features, atol=0.1)


def test_no_samples_are_refused() -> None:
    with pytest.raises(MediaError, match="0 samples"):
        small().encode(torch.zeros(0))


def test_hidden_states_have_one_rate() -> None:
    with pytest.raises(ConfigError, match="50 a second, not 25"):
        WhisperParams(25.0)


def test_encoders_of_every_kind_are_audio_encoders() -> None:
    tiny = Wav2Vec2Config(
        hidden_size=16,
        num_attention_heads=2,
        num_hidden_layers=1,
        conv_dim=(8, 8),
        conv_stride=(20, 16),
        conv_kernel=(40, 32),
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
    )
    for encoder in (small(), new_whisper(WhisperParams(25.0, SMALL, "five")), Wav2VecEncoder(tiny, 25.0)):
        assert isinstance(encoder, AudioEncoder)


@pytest.mark.parametrize("prefix", ["", "model.", "model.encoder."])
def test_published_weights_of_all_of_whisper(prefix: str) -> None:
    torch.manual_seed(1)
    published = WhisperModel(
        WhisperConfig(**SMALL, decoder_layers=1, decoder_attention_heads=2, vocab_size=64, pad_token_id=0)
    ).eval()
    source = published.encoder if prefix.endswith("encoder.") else published
    encoder = small()
    encoder.load_published({prefix + name: value for name, value in source.state_dict().items()})
    mel = torch.randn(1, 40, 200)
    torch.testing.assert_close(encoder(mel)[:, :, -1], published.encoder(mel).last_hidden_state, atol=1e-5, rtol=0)


def test_weights_that_do_not_fit_are_refused() -> None:
    state = small().network.state_dict()
    with pytest.raises(WeightsError, match=r"another shape \['conv1.weight'"):
        small(num_mel_bins=80).load_published(state)
    with pytest.raises(WeightsError, match=r"missing \['layers.4"):
        small(encoder_layers=5).load_published(state)
    with pytest.raises(WeightsError, match=r"not expected \['layers.3"):
        small(encoder_layers=3).load_published(state)


def test_sizes_are_those_of_the_published_encoders() -> None:
    published = {"d_model": 384, "encoder_layers": 4, "num_mel_bins": 80, "decoder_layers": 4, "vocab_size": 51865}
    assert dict(WhisperParams.from_config(published).config) == {
        "d_model": 384,
        "encoder_layers": 4,
        "num_mel_bins": 80,
    }
    tiny = new_whisper(WhisperParams())
    assert (tiny.layers, tiny.channels, tiny.span) == (5, 384, 30.0)
    assert sum(parameter.numel() for parameter in tiny.parameters()) == 8_208_384  # the encoder of whisper-tiny
