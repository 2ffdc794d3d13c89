"""The voice is listened to where it can be found, and nothing is lost where it cannot."""

import logging
from pathlib import Path

import pytest
import torch

from enliven.errors import MediaError, WeightsError
from enliven.media import vocals
from enliven.media.audio import mono_16k, read_audio
from enliven.media.vocals import Centre, Separator, find_separator, heard_voice, part_voice, pieces
from enliven.types import Audio
from mixes import RATE, band, decibels, tone, write_stereo


def test_the_middle_of_a_mix_is_the_voice() -> None:
    voice, mix = band(2.0)
    found = Centre()(Audio(mix, RATE))
    assert found.samples.shape == (1, mix.shape[1])
    assert decibels(voice, mix.mean(0)) < 5
    assert decibels(voice, found.samples[0]) > 15


def test_of_one_channel_the_band_of_speech_is_left() -> None:
    rumble, voice = 0.5 * tone(30, 1.0), 0.2 * tone(300, 1.0)
    found = Centre()(Audio((rumble + voice)[None], RATE)).samples[0]
    assert decibels(voice, rumble + voice) < -5
    assert decibels(voice, found) > 25
    assert (found - voice)[2000:-2000].abs().max() < 0.01


def test_what_is_shorter_than_a_window_is_parted_too() -> None:
    found = Centre()(Audio(0.3 * torch.randn(2, 100, generator=torch.Generator().manual_seed(0)), RATE))
    assert found.samples.shape == (1, 100)
    assert found.samples.isfinite().all()


def test_pieces_of_a_long_recording_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, mix = band(7.3)
    path = write_stereo(tmp_path / "mix.wav", mix)
    whole = part_voice(path, Centre())
    monkeypatch.setattr(vocals, "PIECE_SECONDS", 2)
    assert [(piece.seconds, before, after) for piece, before, after in pieces(path)] == [
        (3.0, 0, 1),
        (4.0, 1, 1),
        (4.0, 1, 1),
        (pytest.approx(2.3), 1, 0),
    ]
    parts = part_voice(path, Centre())
    assert parts.shape == whole.shape == mono_16k(path).shape
    assert decibels(whole, parts) > 30


def test_without_a_wish_everything_is_listened_to(tmp_path: Path) -> None:
    path = write_stereo(tmp_path / "mix.wav", band(0.5)[1])
    assert torch.equal(heard_voice(path), mono_16k(path))
    assert decibels(mono_16k(path), heard_voice(path, "centre")) < 10


class Broken:
    """A separator that fails as a library would."""

    def __call__(self, sound: Audio) -> Audio:
        """Fail."""
        raise RuntimeError("out of memory\nand many lines more")


class Deaf:
    """A separator that finds nothing."""

    def __call__(self, sound: Audio) -> Audio:
        """Silence."""
        return Audio(torch.zeros_like(sound.samples), sound.rate)


@pytest.mark.parametrize(
    ("separator", "said"), [(Broken(), "out of memory"), (Deaf(), "no voice that could be found (leave out --vocals)")]
)
def test_what_fails_is_told_in_a_sentence_and_everything_is_listened_to(
    separator: Separator, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_stereo(tmp_path / "mix.wav", band(0.5)[1])
    monkeypatch.setattr(vocals, "find_separator", lambda _: separator)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(heard_voice(path, "any"), mono_16k(path))
    (message,) = caplog.messages
    assert message.startswith("all of mix.wav is listened to")
    assert message.endswith(said)


def test_weights_that_are_not_there_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_stereo(tmp_path / "mix.wav", band(0.5)[1])
    with pytest.raises(WeightsError, match="'center' is neither 'centre' nor there"):
        find_separator("center")
    assert torch.equal(heard_voice(path, "center"), mono_16k(path))
    assert "give a folder of weights of Demucs" in caplog.text


def test_a_recording_that_cannot_be_read_is_refused_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "none.wav").write_bytes(b"nothing to hear")
    with pytest.raises(MediaError, match=r"none\.wav"):
        heard_voice(tmp_path / "none.wav", "centre")


def test_a_mono_recording_of_a_voice_stays_about_what_it_was(tmp_path: Path) -> None:
    path = write_stereo(tmp_path / "one.wav", band(1.0)[0][None])
    assert decibels(mono_16k(path), heard_voice(path, "centre")) > 25
    assert read_audio(path).samples.shape[0] == 1
