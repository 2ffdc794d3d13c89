"""Random sentences in a dozen languages, with training and test sentences kept apart.

The words are in ``sentences.toml``: for each language its voices and lists of phrases; a sentence takes one phrase of
each list, in order. A sentence belongs to the test split when its checksum says so, hence to exactly one split.
"""

import tomllib
import zlib
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Literal

Split = Literal["train", "test"]
TEST_SHARE = 6  # one sentence in so many is kept for the test


@cache
def _words() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("sentences.toml").read_text(encoding="utf-8"))


def languages() -> list[str]:
    """Language names, as in ``sentence`` and ``voices``."""
    return sorted(name for name in _words() if name != "names")


def voices(language: str) -> list[str]:
    """The eSpeak NG voices that speak ``language``."""
    return _words()[language]["voices"]


def split_of(text: str) -> Split:
    """The one split ``text`` may appear in."""
    return "test" if zlib.crc32(text.encode()) % TEST_SHARE == 0 else "train"


def sentence(language: str, random: Random, split: Split) -> str:
    """A random sentence of ``language`` that belongs to ``split``."""
    while True:
        phrases = [random.choice(options) for options in _words()[language]["phrases"]]
        text = " ".join(phrase for phrase in phrases if phrase)
        text = text.replace("{name}", random.choice(_words()["names"]))
        text = text.replace("{number}", str(random.choice([random.randint(2, 99), random.randint(100, 9999)])))
        text = text[0].upper() + text[1:] + random.choice([".", ".", ".", "!", "?"])
        if split_of(text) == split:
            return text
