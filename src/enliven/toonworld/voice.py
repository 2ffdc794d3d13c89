"""Speech with exact phone times: what the toon world hears and moves its mouth to.

A *phone* is one IPA sound with its start and end in seconds; the empty symbol is a pause. Speech lives on disk as a
pair, ``name.flac`` and ``name.json``.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from enliven.errors import MediaError
from enliven.toonworld.visemes import CLOSED, viseme

SPEECH_RATE = 16_000
LEAD = 0.030  # seconds by which the lips are ahead of the sound
COARTICULATION = 0.032  # seconds, standard deviation of the blur between neighbouring sounds
LIP_CONTACT = 0.13  # an opening below this is a closed mouth: lips are soft and meet before their targets do
VOWEL = 0.4  # what strives for more than this opening is a vowel
FULLY_OPEN = 0.82  # what the blur leaves of the widest vowels
GRID = 500  # points a second at which targets are blurred
EFFORT = 0.5  # the mouth opens with this power of how loud a sound is (amplitude, against the other vowels)
EFFORTS = (0.3, 1.3)  # the least and the most it can do to an opening
SHIPPED = Path(__file__).with_name("speech")


@dataclass(frozen=True, slots=True)
class Phone:
    """One speech sound from ``start`` to ``end``, in seconds; the empty ``symbol`` is a pause.

    ``effort`` multiplies how far the lips part for it: loud sounds are spoken with a wide mouth.
    """

    symbol: str
    start: float
    end: float
    effort: float = 1.0


@dataclass(frozen=True, slots=True)
class Speech:
    """An utterance: sound at 16 kHz in -1..1, its phones, what was said and in which voice."""

    samples: Float[Tensor, "n"]
    phones: tuple[Phone, ...]
    text: str
    voice: str

    @property
    def seconds(self) -> float:
        """How long the sound is."""
        return self.samples.shape[0] / SPEECH_RATE


@dataclass(frozen=True, slots=True)
class Mouth:
    """Mouth shapes over time, each in 0..1; a neutral closed mouth has open 0, width 0.5, round 0."""

    open: Float[Tensor, "f"]
    width: Float[Tensor, "f"]
    round: Float[Tensor, "f"]
    teeth: Float[Tensor, "f"]
    tongue: Float[Tensor, "f"]


def mouth_track(phones: Sequence[Phone], frames: int, fps: float) -> Mouth:
    """The mouth in the middle of each of ``frames`` video frames while ``phones`` sound.

    Each sound pulls the mouth towards its own shape with its own dominance (Cohen and Massaro, 1993); the blur in
    time is Gaussian. Outside the phones the mouth is closed.
    """
    margin = math.ceil(4 * COARTICULATION * GRID)
    points = math.ceil((frames / fps + LEAD) * GRID) + 2 * margin
    seconds = (torch.arange(points) - margin) / GRID
    shapes = torch.tensor([viseme(phone.symbol) for phone in phones] + [CLOSED])
    beyond = (shapes[:, 0] - LIP_CONTACT).clamp(min=0)  # loud or not, lips that must meet do, and others do not
    shapes[:, 0] += beyond * (torch.tensor([phone.effort for phone in phones] + [1.0]) - 1)
    sounding = _sounding(phones, seconds)
    target, dominance = shapes[sounding].split([5, 1], dim=1)
    pulled = _blur(target * dominance, margin) / _blur(dominance, margin)
    middle = ((torch.arange(frames) + 0.5) / fps + LEAD) * GRID
    opening, *others = pulled[middle.long()].unbind(dim=1)
    return Mouth(((opening - LIP_CONTACT) / (FULLY_OPEN - LIP_CONTACT)).clamp(0, 1), *others)


def with_effort(speech: Speech) -> Speech:
    """The same speech, each of its sounds with the effort that its loudness tells, against the middle of the vowels."""
    power = functional.pad(speech.samples.double().square().cumsum(0), (1, 0))
    times = torch.tensor([[phone.start, phone.end] for phone in speech.phones], dtype=torch.double).view(-1, 2)
    first, last = (times * SPEECH_RATE).round().long().clamp(0, len(speech.samples)).unbind(dim=1)
    loud = ((power[last] - power[first]) / (last - first).clamp(min=1)).clamp(min=0).sqrt()
    vowels = loud[torch.tensor([viseme(phone.symbol).open > VOWEL for phone in speech.phones], dtype=torch.bool)]
    if not len(vowels) or vowels.median() == 0:
        return speech
    efforts = (loud / vowels.median()).pow(EFFORT).clamp(*EFFORTS).tolist()
    phones = (replace(phone, effort=effort) for phone, effort in zip(speech.phones, efforts, strict=True))
    return replace(speech, phones=tuple(phones))


def _sounding(phones: Sequence[Phone], seconds: Float[Tensor, "n"]) -> Int[Tensor, "n"]:
    """Which phone sounds at each moment; ``len(phones)`` where none does."""
    if not phones:
        return torch.zeros(len(seconds), dtype=torch.long)
    starts = torch.tensor([phone.start for phone in phones])
    ends = torch.tensor([phone.end for phone in phones])
    index = torch.searchsorted(starts, seconds, right=True) - 1
    inside = (index >= 0) & (seconds < ends[index.clamp(min=0)])
    return torch.where(inside, index, len(phones))


def _blur(values: Float[Tensor, "n c"], margin: int) -> Float[Tensor, "m c"]:
    """Gaussian blur in time, without the ``margin`` points at each end."""
    kernel = torch.exp(-0.5 * (torch.arange(-margin, margin + 1) / (COARTICULATION * GRID)) ** 2)
    blurred = functional.conv1d(values.T.unsqueeze(1), (kernel / kernel.sum()).view(1, 1, -1))
    return blurred.squeeze(1).T


def silence(seconds: float) -> Speech:
    """``seconds`` of digital silence: one pause."""
    return Speech(torch.zeros(round(seconds * SPEECH_RATE)), (Phone("", 0.0, seconds),), "", "")


def shipped_speech() -> list[str]:
    """The names of the utterances that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.flac"))


def load_speech(name: str) -> Speech:
    """The shipped utterance ``name``; MediaError when there is none of that name."""
    path = SHIPPED / f"{name}.flac"
    if not path.is_file():
        raise MediaError(f"no shipped speech {name!r}", hint=f"choose one of {', '.join(shipped_speech())}")
    return read_speech(path)


def read_speech(path: Path) -> Speech:
    """Read ``path`` (.flac) and the timing beside it (.json); MediaError when either is missing or broken.

    How loud its sounds are tells their effort.
    """
    try:
        timing = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        phones = tuple(Phone(symbol, start, end) for symbol, start, end in timing["phones"])
        return with_effort(Speech(_decode(path), phones, timing["text"], timing["voice"]))
    except (OSError, ValueError, KeyError) as error:
        raise MediaError(f"cannot read speech {path}: {error}", hint="give a .flac with its .json beside it") from error


def write_speech(speech: Speech, path: Path) -> None:
    """Write ``path`` (.flac) and then the timing beside it (.json), so that a .json vouches for a whole pair."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _encode(speech.samples, path)
    phones = [[phone.symbol, round(phone.start, 4), round(phone.end, 4)] for phone in speech.phones]
    timing = {"text": speech.text, "voice": speech.voice, "phones": phones}
    path.with_suffix(".json").write_text(json.dumps(timing, ensure_ascii=False) + "\n", encoding="utf-8")


def _decode(path: Path) -> Float[Tensor, "n"]:
    options = {"protocol_whitelist": "file", "format_whitelist": "flac"}  # nobody vouches for the folder's files
    with av.open(str(path), container_options=options) as container:
        sound = container.streams.audio[0]
        if sound.format is None:
            raise ValueError("it holds no sound that can be decoded")
        found = (sound.rate, sound.format.name, sound.channels)
        if found != (SPEECH_RATE, "s16", 1):
            raise MediaError(
                f"{path} holds {found[0]} Hz, {found[1]}, {found[2]} channels; 16 kHz, 16 bit, mono was expected",
                hint="convert it: ffmpeg -i IN -ar 16000 -ac 1 -sample_fmt s16 OUT.flac",
            )
        pieces = [frame.to_ndarray() for frame in container.decode(audio=0)]
    samples = numpy.concatenate(pieces, axis=1)[0]
    return torch.from_numpy(samples.astype("float32") / 32768)


def _encode(samples: Float[Tensor, "n"], path: Path) -> None:
    whole = (samples.clamp(-1, 1) * 32767).round().to(torch.int16).numpy()
    with av.open(str(path), "w", format="flac") as container:
        stream = container.add_stream("flac", rate=SPEECH_RATE, layout="mono", options={"compression_level": "8"})
        for start in range(0, len(whole), 4096):
            frame = av.AudioFrame.from_ndarray(whole[None, start : start + 4096], format="s16", layout="mono")
            frame.sample_rate, frame.pts = SPEECH_RATE, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
