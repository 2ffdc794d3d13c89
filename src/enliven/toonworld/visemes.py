# ruff: noqa: RUF001 - letters of the phonetic alphabet are meant
"""What the mouth does for each sound: a table from IPA to mouth shapes."""

from functools import cache
from typing import NamedTuple


class Viseme(NamedTuple):
    """The shape a sound strives for, each number in 0..1, and how strongly it prevails over its neighbours.

    ``width`` is 0.5 at rest, less when the lips draw together, more when they spread; ``teeth`` and ``tongue`` say
    how much of them shows.
    """

    open: float
    width: float = 0.5
    round: float = 0.0
    teeth: float = 0.0
    tongue: float = 0.0
    dominance: float = 1.0


CLOSED = Viseme(0.0)
UNKNOWN = Viseme(0.3, teeth=0.2, dominance=0.6)

# Lips must meet for p, b and m, and the lip must touch the teeth for f and v, whatever stands beside them.
VISEMES: dict[str, Viseme] = {
    "pbmɓ": Viseme(0.0, 0.5, dominance=4.0),
    "fvɱʋ": Viseme(0.1, 0.55, teeth=1.0, dominance=3.0),
    "ɸβ": Viseme(0.08, 0.45, 0.3, dominance=2.5),
    "θð": Viseme(0.22, 0.55, teeth=0.6, tongue=1.0, dominance=1.5),
    "td": Viseme(0.18, 0.6, teeth=0.7, tongue=0.4),
    "n": Viseme(0.2, 0.58, teeth=0.5, tongue=0.5),
    "szɬ": Viseme(0.12, 0.68, teeth=1.0, dominance=1.4),
    "lɫɭʎ": Viseme(0.38, 0.6, teeth=0.3, tongue=0.9),
    "rɾ": Viseme(0.32, 0.52, 0.1, teeth=0.4, tongue=0.5),
    "ɹɻɚɝ": Viseme(0.3, 0.35, 0.5, teeth=0.3, tongue=0.2),
    "ʃʒʂʐ": Viseme(0.2, 0.25, 0.7, teeth=0.9, dominance=1.6),
    "ɕʑç": Viseme(0.18, 0.5, 0.3, teeth=0.9, dominance=1.3),
    "kɡgŋɲcɟ": Viseme(0.28, 0.55, teeth=0.3, dominance=0.7),
    "xɣχʁqʀ": Viseme(0.35, 0.5, teeth=0.2, dominance=0.7),
    "hɦʔħʕ": Viseme(0.35, 0.5, dominance=0.4),
    "jʝ": Viseme(0.25, 0.85, teeth=0.5, dominance=0.9),
    "ʲ": Viseme(0.2, 0.75, teeth=0.4, dominance=0.5),
    "wʍɥʷ": Viseme(0.15, 0.08, 1.0, dominance=1.6),
    "iɪɨ": Viseme(0.3, 0.95, teeth=0.6),
    "eɘ": Viseme(0.48, 0.82, teeth=0.4, tongue=0.1),
    "ɛɜ": Viseme(0.62, 0.72, teeth=0.3, tongue=0.2),
    "æ": Viseme(0.85, 0.75, teeth=0.3, tongue=0.3),
    "aɐ": Viseme(0.95, 0.62, teeth=0.2, tongue=0.3),
    "ɑɒ": Viseme(1.0, 0.45, 0.15, tongue=0.2),
    "ʌɤ": Viseme(0.7, 0.52, tongue=0.2),
    "əɵᵻ": Viseme(0.45, 0.52, teeth=0.2, dominance=0.7),
    "ɔ": Viseme(0.72, 0.28, 0.65),
    "oɞ": Viseme(0.52, 0.2, 0.8),
    "uʊʉɯ": Viseme(0.28, 0.1, 1.0),
    "yʏ": Viseme(0.25, 0.15, 0.95, teeth=0.2),
    "øœ": Viseme(0.45, 0.25, 0.8),
}
_BY_LETTER = {letter: shape for letters, shape in VISEMES.items() for letter in letters}

# Sounds in classes that can be told apart by ear, for training a hearing network; class 0 is a pause.
SOUND_CLASSES = ("", *VISEMES)
_CLASS_BY_LETTER = {letter: index for index, letters in enumerate(SOUND_CLASSES) for letter in letters}


@cache
def viseme(symbol: str) -> Viseme:
    """The mouth shape of an IPA sound; marks of length, stress or voice are passed over, a pause is closed."""
    letter = _letter(symbol)
    return _BY_LETTER.get(letter, UNKNOWN) if letter else CLOSED


@cache
def sound_class(symbol: str) -> int:
    """The index of an IPA sound in ``SOUND_CLASSES``, -1 when it is in none."""
    return _CLASS_BY_LETTER.get(_letter(symbol), -1) if symbol else 0


def _letter(symbol: str) -> str:
    """The first letter of ``symbol`` with a shape of its own, else its first letter."""
    known = (letter for letter in symbol if letter in _BY_LETTER)
    return next(known, symbol[:1])
