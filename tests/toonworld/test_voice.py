# ruff: noqa: RUF001 - letters of the phonetic alphabet are meant
"""Tests of speech and mouth tracks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from enliven.errors import MediaError
from enliven.toonworld.voice import (
    SHIPPED,
    Phone,
    Speech,
    load_speech,
    mouth_track,
    read_speech,
    shipped_speech,
    silence,
    with_effort,
    write_speech,
)
from media_files import write_sound


def phones(*symbols: str, each: float = 0.12) -> list[Phone]:
    return [Phone(symbol, index * each, (index + 1) * each) for index, symbol in enumerate(symbols)]


@pytest.mark.parametrize("lips", ["p", "b", "m"])
def test_bilabials_close_the_mouth_between_open_vowels(lips: str) -> None:
    mouth = mouth_track(phones("a", lips, "a", each=0.16), 12, 25.0)
    assert mouth.open.min() == 0
    assert mouth.open.max() > 0.8


def test_rounded_and_spread_vowels_look_so() -> None:
    rounded, spread = (mouth_track(phones(vowel, vowel, vowel), 9, 25.0) for vowel in "ui")
    assert rounded.round[4] > 0.9
    assert rounded.width[4] < 0.2
    assert spread.round[4] < 0.05
    assert spread.width[4] > 0.85


def test_teeth_show_on_f_and_tongue_on_th() -> None:
    mouth = mouth_track(phones("a", "f", "a", "θ", "a", each=0.2), 25, 25.0)
    assert mouth.teeth[7] > 0.7
    assert mouth.tongue[17] > 0.6
    assert mouth.tongue[7] < 0.2


def test_lips_lead_the_sound() -> None:
    late = mouth_track([Phone("", 0, 0.5), Phone("a", 0.5, 1)], 250, 250.0).open
    assert 0.44 < (late > 0.5).nonzero()[0].item() / 250 < 0.5


def test_silence_and_the_time_after_the_phones_are_neutral() -> None:
    for mouth in (
        mouth_track(silence(1).phones, 25, 25.0),
        mouth_track([], 25, 25.0),
        mouth_track([Phone("a", 0, 0.2)], 40, 25.0),
    ):
        last = [float(values[-1]) for values in (mouth.open, mouth.width, mouth.round, mouth.teeth, mouth.tongue)]
        assert last == pytest.approx([0, 0.5, 0, 0, 0], abs=1e-4)


def test_a_track_does_not_depend_on_how_many_frames_are_asked_for() -> None:
    spoken = load_speech("hello").phones
    torch.testing.assert_close(mouth_track(spoken, 30, 25.0).open, mouth_track(spoken, 200, 25.0).open[:30])


def test_marks_of_length_and_place_do_not_change_the_shape() -> None:
    plain, marked = (mouth_track(phones("t", vowel, "t"), 9, 25.0).open for vowel in ("ɑ", "ˈɑː"))
    assert torch.equal(plain, marked)


@pytest.mark.parametrize("name", shipped_speech())
def test_shipped_speech_moves_and_closes_the_mouth(name: str) -> None:
    speech = load_speech(name)
    mouth = mouth_track(speech.phones, int(speech.seconds * 25), 25.0)
    assert 2 < speech.seconds < 16
    assert speech.phones[-1].end == pytest.approx(speech.seconds, abs=0.01)
    assert 0.08 < (mouth.open == 0).float().mean() < 0.5
    assert mouth.open.max() > 0.6
    for values in (mouth.open, mouth.width, mouth.round, mouth.teeth, mouth.tongue):
        assert values.min() >= 0
        assert values.max() <= 1


def test_shipped_speech_is_small_and_in_several_languages() -> None:
    names = shipped_speech()
    sizes = [path.stat().st_size for path in SHIPPED.iterdir()]
    assert sum(sizes) < 2_500_000
    assert len({load_speech(name).voice.split("+")[0].split("-")[0] for name in names}) >= 3


def test_the_mouth_follows_the_loudness_of_shipped_speech() -> None:
    speech = load_speech("hello")
    frames = int(speech.seconds * 25)
    level = speech.samples[: frames * 640].view(frames, 640).square().mean(1).sqrt()
    opening = mouth_track(speech.phones, frames, 25.0).open
    assert torch.corrcoef(torch.stack([opening, level]))[0, 1] > 0.5


def test_loud_sounds_are_spoken_with_a_wide_mouth_and_lips_still_meet() -> None:
    said = phones("a", "m", "a", "m", "a", each=0.2)
    level = torch.tensor([0.04, 0.1, 0.1, 0.1, 0.2]).repeat_interleave(3200)
    speech = with_effort(Speech(level * torch.sin(0.5 * torch.arange(16_000)), tuple(said), "", ""))
    assert [phone.effort for phone in speech.phones][::2] == pytest.approx([0.4**0.5, 1, 1.3], abs=0.01)
    opening = mouth_track(speech.phones, 25, 25.0).open
    assert opening[2] < 0.8 * opening[12] < opening[21]
    assert opening[[7, 17]].max() < 0.05


def test_effort_does_not_ask_how_loud_a_recording_is() -> None:
    speech = load_speech("hello")
    quiet = with_effort(replace(speech, samples=speech.samples / 50))
    assert [phone.effort for phone in quiet.phones] == pytest.approx(
        [phone.effort for phone in speech.phones], abs=1e-3
    )
    assert with_effort(silence(1)).phones == silence(1).phones


def test_speech_survives_the_disk(tmp_path: Path) -> None:
    samples = torch.randn(20_001).clamp(-1, 1) * 0.5
    speech = Speech(samples, (Phone("", 0.0, 0.25), Phone("ɑ", 0.25, 1.25)), "Ah.", "none")
    write_speech(speech, tmp_path / "one" / "ah.flac")
    read = read_speech(tmp_path / "one" / "ah.flac")
    assert [(p.symbol, p.start, p.end) for p in read.phones] == [("", 0.0, 0.25), ("ɑ", 0.25, 1.25)]
    assert (read.text, read.voice) == (speech.text, speech.voice)
    torch.testing.assert_close(read.samples, samples, atol=1e-4, rtol=0)


def test_missing_and_broken_speech_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no shipped speech 'helo'") as caught:
        load_speech("helo")
    assert "hello" in caught.value.hint
    write_speech(silence(0.5), tmp_path / "a.flac")
    (tmp_path / "a.flac").write_bytes(b"not sound")
    with pytest.raises(MediaError, match="cannot read speech"):
        read_speech(tmp_path / "a.flac")
    (tmp_path / "a.json").unlink()
    with pytest.raises(MediaError, match="cannot read speech"):
        read_speech(tmp_path / "a.flac")


@pytest.mark.parametrize(
    ("codec", "form", "rate", "channels", "told"),
    [
        ("flac", "flac", 44100, 1, "16 kHz, 16 bit, mono was expected"),
        ("flac", "flac", 16000, 2, "16 kHz, 16 bit, mono was expected"),
        ("pcm_s16le", "wav", 16000, 1, "cannot read speech"),
    ],
)
def test_sound_of_another_form_is_refused(
    tmp_path: Path, codec: str, form: str, rate: int, channels: int, told: str
) -> None:
    write_speech(silence(0.5), tmp_path / "a.flac")
    write_sound(tmp_path / "a.flac", codec, form, np.zeros((channels, rate // 2), np.float32), rate)
    with pytest.raises(MediaError, match=told):
        read_speech(tmp_path / "a.flac")
