"""Clips out of video files: found with their captions, cut to lengths and sizes a model learns from, encoded."""

import csv
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import pad

from enliven.data.clips import FPS, RATE, ToonClip
from enliven.data.encoded import EncodedClip, Heads
from enliven.data.film_people import SPEAKERS, FilmPeople, read_people
from enliven.errors import ConfigError, MediaError
from enliven.media.audio import SPEECH_RATE, has_sound
from enliven.media.image import fit_frames, from_pixels
from enliven.media.speakers_file import read_speakers_file
from enliven.media.video import video_frames
from enliven.media.vocals import Separator, heard_voice
from enliven.models.audio import AudioEncoder
from enliven.models.vae import VideoAutoencoder, check_frames
from enliven.types import Soundless

SUFFIXES = {".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".ts"}
LISTS = "a folder of videos, a video, or a .csv or .jsonl list with path and caption"
MARGIN = 1.0  # seconds of sound that are heard on both sides of a clip, and left out again

ChooseSize = Callable[[int, int], tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Film:
    """A video file, and what is seen in it."""

    path: Path
    caption: str = ""

    def __str__(self) -> str:
        return str(self.path)

    def digest(self) -> str:
        """A number that another size of the file, other speakers, another of their recordings or caption would change.

        Raises as ``read_speakers_file``.
        """
        speakers = self.path.with_suffix(SPEAKERS)
        files = [self.path]
        if speakers.is_file():
            files += [voice for voice in read_speakers_file(speakers, self.path).voices if voice is not None]
        sizes = [file.stat().st_size if file.is_file() else 0 for file in files]
        told = speakers.read_bytes() if speakers.is_file() else b""
        return hashlib.sha256(f"{sizes} {self.caption}\n".encode() + told).hexdigest()[:16]


def find_films(source: Path) -> list[Film]:
    """The videos of a folder and all in it, of a list, or the one that ``source`` is.

    The caption of ``a.mp4`` is in ``a.txt``, or beside its ``path`` in the list; paths start at the folder of the list.
    Raises ConfigError for anything else.
    """
    if source.is_dir():
        paths = (path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES)
        return [Film(path, _beside(path)) for path in sorted(paths)]
    if source.suffix.lower() in SUFFIXES:
        return [Film(source, _beside(source))]
    try:
        if source.suffix.lower() == ".csv":
            rows: list[Any] = list(csv.DictReader(io.StringIO(source.read_text(encoding="utf-8-sig"), newline="")))
        elif source.suffix.lower() == ".jsonl":
            rows = [json.loads(line) for line in source.read_text(encoding="utf-8").split("\n") if line.strip()]
        else:
            raise ConfigError(f"{source} is no list of videos", hint=f"give {LISTS}")
        return [Film(source.parent / row["path"], row.get("caption") or "") for row in rows]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise ConfigError(f"{source} cannot be read as a list of videos: {error!r}", hint=f"give {LISTS}") from error


def cut_film(
    path: Path, fps: float, lengths: Sequence[int], size: ChooseSize, made: frozenset[int] = frozenset()
) -> Iterator[tuple[int, UInt8[Tensor, "f 3 h w"]]]:
    """Clips one after the other, each with the frame it starts from, but those ``made`` already.

    All have the longest of ``lengths``, in video frames; what is left at the end is cut into the longest that fit.
    ``size`` says the height and width of a clip from those of the video. Raises MediaError, also where none fits.
    """
    start, held, longest = 0, [], max(lengths)
    target: tuple[int, int] | None = None
    for frame in video_frames(path, fps):
        target = target or size(frame.shape[1], frame.shape[2])
        held.append(frame if start in made else fit_frames(frame[None], *target)[0])
        if len(held) == longest:
            if start not in made:
                yield start, torch.stack(held)
            start, held = start + longest, []
    while fitting := [length for length in lengths if length <= len(held)]:
        length = max(fitting)
        if start not in made and target is not None:
            yield start, torch.stack([fit_frames(frame[None], *target)[0] for frame in held[:length]])
        start, held = start + length, held[length:]
    if not start:
        raise MediaError(
            f"{path.name} has {len(held)} frames, a clip needs {min(lengths)}",
            hint="ask for shorter clips with --frames",
        )


@dataclass(frozen=True, slots=True)
class Soundtrack:
    """What is heard of clips: their ``own`` sound, ``silence`` or ``null`` audio, whatever sound they have.

    Of those that have no sound of their own, it is what ``soundless`` says: LongCat learns that silence is not null
    audio (3.2), Soul that nothing is heard of general video (3.2). With ``vocals`` the voice alone is listened to.
    """

    heard: Literal["own", "silence", "null"] = "own"
    soundless: Soundless = "null"
    vocals: Separator | None = None

    def of_film(self, path: Path, people: FilmPeople | None = None) -> Float[Tensor, "p n"] | None:
        """What is listened to, at 16 kHz: no samples where there is silence, None for null audio.

        Where nobody is told of, there is one voice, that of the film. Raises MediaError.
        """
        if self.heard == "own" and people is not None:
            return people.voices(partial(heard_voice, vocals=self.vocals))
        if self.heard == "own" and has_sound(path):
            return heard_voice(path, self.vocals)[None]
        count = len(people.recordings) if people else 1
        return torch.zeros(count, 0) if self._instead == "silence" else None

    def of_drawn(self, clip: ToonClip) -> ToonClip:
        """The same clip with the sound that is listened to."""
        if self.heard == "own" and len(clip.samples):
            return clip
        silent = self._instead == "silence"
        samples = torch.zeros(round(len(clip.frames) * RATE / FPS) if silent else 0)
        return replace(clip, samples=samples, silent=silent)

    @property
    def _instead(self) -> Soundless:
        return self.soundless if self.heard == "own" else self.heard


@dataclass(frozen=True, slots=True)
class FilmEncoder:
    """Makes encoded clips of films. ``lengths`` are of clips in video frames, each ``4k + 1``; see ``cut_film``.

    There is a whole number of audio features for each of ``fps`` video frames a second. The truth about the mouth is
    not known, and zero. So many ``voices`` at most are heard, any number where it is None; several people have to be
    larger than a ``token``, in pixels a side.
    """

    autoencoder: VideoAutoencoder
    hearing: AudioEncoder
    fps: int
    lengths: tuple[int, ...]
    size: ChooseSize
    device: str = "cpu"
    sound: Soundtrack = Soundtrack()
    voices: int | None = None
    token: int = 1

    def __post_init__(self) -> None:
        for length in self.lengths:
            check_frames(length, self.autoencoder.temporal_factor)
        if not self.lengths or self.hearing.rate % self.fps:
            raise ConfigError(
                f"{self.hearing.rate:g} audio features a second cannot be shared among {self.fps} video frames",
                hint="use an audio encoder whose rate is a multiple of the frame rate",
            )

    def clips(self, film: Film, made: frozenset[int] = frozenset()) -> Iterator[tuple[int, EncodedClip]]:
        """The clips of a film, each with the frame it starts from, but those ``made`` already.

        Raises MediaError, and RequestError where the file beside it that says who is in it says it wrongly.
        """
        told = self._told(film)
        for start, frames in cut_film(film.path, self.fps, self.lengths, self.size, made):
            yield start, self._encode(told, start, frames)

    def _told(self, film: Film) -> "_Told":
        people = read_people(film.path, self.voices)
        heard = self.sound.of_film(film.path, people)
        if people is None:
            return _Told(film.path.name, film.caption, 1, heard)
        places = people.places(*self.size(*people.size), self.token)
        return _Told(film.path.name, film.caption or people.prompt, len(people.recordings), heard, places)

    @torch.no_grad()
    def _encode(self, told: "_Told", start: int, frames: UInt8[Tensor, "f 3 h w"]) -> EncodedClip:
        video = from_pixels(frames).transpose(0, 1)[None].to(self.device)
        chosen = torch.arange(0, len(frames), self.autoencoder.temporal_factor)
        pictures = [self.autoencoder.encode(video[:, :, int(index)][:, :, None])[0, :, 0] for index in chosen]
        return EncodedClip(
            latents=self.autoencoder.encode(video)[0].float().cpu(),
            references=torch.stack(pictures).float().cpu(),
            reference_frames=chosen,
            audio=self._hear(told, start, len(frames)),
            mouth=torch.zeros(told.people, len(frames), 5),
            caption=told.caption,
            silent=told.heard is not None and not self._span(told.heard, start, len(frames)).any(),
            heads=told.places,
        )

    def _hear(self, told: "_Told", start: int, frames: int) -> Float[Tensor, "p a layers c"]:
        """The features of each voice; behind the end of the sound there is silence, with one noise floor for all."""
        per_frame = int(self.hearing.rate // self.fps)
        if told.heard is None:
            return torch.zeros(told.people, frames * per_frame, self.hearing.layers, self.hearing.channels)
        before = min(start, round(MARGIN * self.fps))
        heard = self._span(told.heard, start - before, before + frames + round(MARGIN * self.fps))
        seed = zlib.crc32(f"{told.name} {start}".encode())
        shown = slice(before * per_frame, (before + frames) * per_frame)
        features = [self.hearing.encode(voice, seed=seed).features[shown] for voice in heard]
        return torch.stack(features).float().cpu()

    def _span(self, voices: Float[Tensor, "p n"], start: int, frames: int) -> Float[Tensor, "p m"]:
        """The sound of video frames, with zeros behind its end."""
        begin, end = (round(frame / self.fps * SPEECH_RATE) for frame in (start, start + frames))
        found = voices[:, begin:end]
        return pad(found, (0, end - begin - found.shape[1]))


@dataclass(frozen=True, slots=True)
class _Told:
    """What all clips of a film have in common; ``heard`` as ``Soundtrack.of_film`` has it, and where several are."""

    name: str
    caption: str
    people: int
    heard: Float[Tensor, "p n"] | None
    places: Heads | None = None


def _beside(path: Path) -> str:
    """What stands in the text file beside a video."""
    words = path.with_suffix(".txt")
    return " ".join(words.read_text(encoding="utf-8", errors="replace").split()) if words.is_file() else ""
