# ruff: noqa: RUF001 - letters of the phonetic alphabet are meant
"""Speech from eSpeak NG, for building data: any sentence in many voices, with exact phoneme times.

eSpeak NG is a GPL-3 program that is neither shipped nor needed to run anything: it works in a process of its own
(``espeak_worker.py``), and only this module starts it. ``apt install espeak-ng`` brings it.

    python -m enliven.toonworld.espeak FOLDER --split train --count 1500
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from types import TracebackType
from typing import IO, Any

import numpy
import soxr
import torch

from enliven.errors import ConfigError, MissingExtra
from enliven.toonworld.sentences import Split, languages, sentence, voices
from enliven.toonworld.voice import SPEECH_RATE, Phone, Speech, write_speech

WORKER = Path(__file__).with_name("espeak_worker.py")
INSTALL = "install it with: apt install espeak-ng"

AFFRICATES = {"tʃ", "dʒ", "ts", "dz", "tɕ", "dʑ", "pf", "tʂ", "dʐ"}
# Voices heard in training are not heard in tests.
VARIANTS: dict[Split, tuple[str, ...]] = {
    "train": (
        *("m1", "m2", "m3", "m5", "m6", "m7", "f1", "f2", "f3", "f4"),
        *("Andy", "Alex", "linda", "steph", "max", "rob"),
    ),
    "test": ("m4", "f5", "Annie", "Lee", "david", "belinda"),
}
VOWELS = "aeiouyæœøɐɑɒɔəɘɚɛɜɝɞɤɨɪɯɵʉʊʌʏ"


class Espeak:
    """A running eSpeak NG, to be used in a ``with`` statement. MissingExtra where it is not installed."""

    def __enter__(self) -> "Espeak":
        self._process = subprocess.Popen([sys.executable, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        answer = self._answer()
        if "error" in answer:
            self.__exit__(None, None, None)
            raise MissingExtra(f"eSpeak NG cannot be used: {answer['error']}", hint=INSTALL)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._input.close()
        self._output.close()
        self._process.wait()

    def speak(self, text: str, voice: str, *, speed: int = 170, pitch: int = 50) -> Speech:
        """``text`` in ``voice`` ("en-us+f3") at ``speed`` words a minute; ConfigError when the voice is unknown."""
        request = {"text": text, "voice": voice, "speed": speed, "pitch": pitch}
        self._input.write(json.dumps(request).encode() + b"\n")
        self._input.flush()
        answer = self._answer()
        if "error" in answer:
            raise ConfigError(answer["error"], hint="list voices with: espeak-ng --voices")
        sound = numpy.frombuffer(self._output.read(answer["bytes"]), dtype="int16").astype("float32") / 32768
        samples = soxr.resample(sound, answer["rate"], SPEECH_RATE)
        phones = phones_of([(symbol, start) for symbol, start in answer["phones"]], answer["rate"], len(sound))
        return Speech(torch.from_numpy(samples), phones, text, voice)

    @property
    def _input(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _output(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _answer(self) -> dict[str, Any]:
        return json.loads(self._output.readline() or b'{"error": "its process ended"}')


def phones_of(events: list[tuple[str, int]], rate: int, samples: int) -> tuple[Phone, ...]:
    """Phones from phoneme events ``(symbol, first sample)``, without language switches, with double sounds split."""
    kept = [(symbol, start) for symbol, start in events if not symbol.startswith("(")]
    if not kept or kept[0][1] > 0:
        kept.insert(0, ("", 0))
    ends = [start for _, start in kept[1:]] + [samples]
    phones: list[Phone] = []
    for (symbol, start), end in zip(kept, ends, strict=True):
        if end > start:
            phones += _split(symbol, start / rate, end / rate)
    return tuple(phones)


def _split(symbol: str, start: float, end: float) -> Iterator[Phone]:
    """Split an affricate or a diphthong into its two sounds."""
    bare = symbol.translate({ord(mark): None for mark in "ˈˌː͡ˑ̯"})
    vowels = [index for index, letter in enumerate(bare) if letter in VOWELS]
    if bare[:2] in AFFRICATES:
        cut, share = 1, 0.4  # an affricate is mostly its hiss
    elif len(vowels) > 1:
        cut, share = vowels[1], 0.6  # a diphthong is mostly its first vowel
    else:
        yield Phone(bare, start, end)
        return
    middle = start + share * (end - start)
    yield Phone(bare[:cut], start, middle)
    yield Phone(bare[cut:], middle, end)


def utterance(espeak: Espeak, split: Split, seed: int, seconds: tuple[float, float] = (3.0, 8.0)) -> Speech:
    """Utterance number ``seed`` of a corpus: random language, voice, speed and pitch, between ``seconds`` long."""
    random = Random(f"{split} {seed}")
    language = random.choice(languages())
    voice = f"{random.choice(voices(language))}+{random.choice(VARIANTS[split])}"
    speed, pitch = random.randint(120, 220), random.randint(20, 80)
    text = sentence(language, random, split)
    spoken = espeak.speak(text, voice, speed=speed, pitch=pitch)
    while spoken.seconds < seconds[0]:
        text = f"{text} {sentence(language, random, split)}"
        spoken = espeak.speak(text, voice, speed=speed, pitch=pitch)
    return shorten(spoken, seconds[1])


def shorten(speech: Speech, seconds: float) -> Speech:
    """The first ``seconds`` of ``speech``, or all of it."""
    phones = tuple(replace(p, end=min(p.end, seconds)) for p in speech.phones if p.start < seconds)
    return Speech(speech.samples[: round(seconds * SPEECH_RATE)], phones, speech.text, speech.voice)


def build(folder: Path, split: Split, count: int) -> None:
    """Fill ``folder`` with utterances 0..count - 1; those already there are kept."""
    with Espeak() as espeak:
        for seed in range(count):
            path = folder / f"{seed:05d}.flac"
            if not path.with_suffix(".json").is_file():
                write_speech(utterance(espeak, split, seed), path)


def main() -> None:
    """Build a corpus from the command line."""
    parser = argparse.ArgumentParser(description=build.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--split", choices=["train", "test"], default="train")
    parser.add_argument("--count", type=int, default=1500)
    arguments = parser.parse_args()
    build(arguments.folder, arguments.split, arguments.count)


if __name__ == "__main__":
    main()
