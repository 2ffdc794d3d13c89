# ruff: noqa: RUF001 - letters of the phonetic alphabet are meant
"""Tests of speech from eSpeak NG; those that speak are skipped where it is not installed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from enliven.errors import ConfigError, MissingExtra
from enliven.toonworld import espeak
from enliven.toonworld.espeak import VARIANTS, Espeak, phones_of, shorten, utterance
from enliven.toonworld.voice import Phone, load_speech, read_speech


@pytest.fixture(scope="module")
def speaker() -> Iterator[Espeak]:
    speaker = Espeak()
    try:
        speaker.__enter__()
    except MissingExtra as error:
        pytest.skip(f"{error} ({error.hint})")
    yield speaker
    speaker.__exit__(None, None, None)


def test_double_sounds_are_split_and_language_switches_dropped() -> None:
    events = [("tʃ", 100), ("(en)", 150), ("aɪ", 200), ("", 300)]
    assert phones_of(events, 100, 400) == (
        Phone("", 0.0, 1.0),
        Phone("t", 1.0, 1.4),
        Phone("ʃ", 1.4, 2.0),
        Phone("a", 2.0, 2.6),
        Phone("ɪ", 2.6, 3.0),
        Phone("", 3.0, 4.0),
    )


def test_shortened_speech_ends_where_its_sound_ends() -> None:
    speech = shorten(load_speech("hello"), 1.5)
    assert len(speech.samples) == 24_000
    assert speech.phones[-1].end == 1.5


def test_training_and_test_voices_are_disjoint() -> None:
    assert not set(VARIANTS["train"]) & set(VARIANTS["test"])


def test_phones_tile_the_sound(speaker: Espeak) -> None:
    speech = speaker.speak("Change the boat, judge!", "en-us+f3")
    ends = [phone.end for phone in speech.phones]
    assert [phone.start for phone in speech.phones] == [0.0, *ends[:-1]]
    assert ends[-1] == pytest.approx(speech.seconds, abs=0.001)
    assert "".join(phone.symbol for phone in speech.phones).count("dʒ") == 3


def test_pauses_are_quiet_and_vowels_loud(speaker: Espeak) -> None:
    speech = speaker.speak("Papa, papa, papa.", "en-us+m3")
    levels: dict[bool, list[float]] = {True: [], False: []}
    for phone in speech.phones:
        heard = speech.samples[round(phone.start * 16_000) : round(phone.end * 16_000)]
        if phone.symbol in ("", "ɑː", "ɑ"):
            levels[phone.symbol == ""].append(float(heard.square().mean()))
    assert min(levels[False]) > 20 * max(levels[True][1:])


@pytest.mark.parametrize("voice", ["xx+f1", "en-us+nobody"])
def test_unknown_voices_are_refused(speaker: Espeak, voice: str) -> None:
    with pytest.raises(ConfigError, match="no voice"):
        speaker.speak("Hello", voice)
    assert speaker.speak("Hello", "en-us").seconds > 0.3


def test_an_utterance_is_repeatable_and_of_the_length_asked_for(speaker: Espeak) -> None:
    first, again = (utterance(speaker, "test", 3) for _ in range(2))
    assert first.text == again.text
    assert first.voice == again.voice
    assert 3 <= first.seconds <= 8


def test_a_corpus_is_continued_not_repeated(speaker: Espeak, tmp_path: Path) -> None:
    espeak.build(tmp_path, "test", 1)
    written = (tmp_path / "00000.json").stat().st_mtime_ns
    espeak.build(tmp_path, "test", 2)
    assert (tmp_path / "00000.json").stat().st_mtime_ns == written
    assert read_speech(tmp_path / "00001.flac").seconds >= 3


def test_where_it_is_missing_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = tmp_path / "worker.py"
    worker.write_text(espeak.WORKER.read_text().replace("libespeak-ng.so.1", "libabsent.so"))
    monkeypatch.setattr(espeak, "WORKER", worker)
    with pytest.raises(MissingExtra) as caught, Espeak():
        pass
    assert "apt install espeak-ng" in caught.value.hint
