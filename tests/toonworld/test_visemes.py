# ruff: noqa: RUF001 - letters of the phonetic alphabet are meant
"""Tests of the mouth shapes of sounds."""

from enliven.toonworld.visemes import CLOSED, SOUND_CLASSES, UNKNOWN, VISEMES, sound_class, viseme
from enliven.toonworld.voice import load_speech, shipped_speech


def test_no_letter_has_two_shapes() -> None:
    letters = "".join(VISEMES)
    assert len(letters) == len(set(letters))


def test_every_shipped_sound_is_known() -> None:
    symbols = {phone.symbol for name in shipped_speech() for phone in load_speech(name).phones}
    assert {symbol for symbol in symbols if viseme(symbol) is UNKNOWN} == set()


def test_pauses_are_closed_and_strangers_are_not() -> None:
    assert viseme("") == CLOSED
    assert viseme("ʘ") == UNKNOWN
    assert (sound_class(""), sound_class("ʘ")) == (0, -1)
    assert "m" in SOUND_CLASSES[sound_class("mː")]
