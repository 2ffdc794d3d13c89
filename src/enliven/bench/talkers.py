"""Who makes the videos that are measured: a model, or the drawn truth itself."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import UInt8
from torch import Tensor

from enliven.bench.cases import FPS, Case, MovedCase, WordsCase
from enliven.bench.groups import GroupCase
from enliven.media.image import to_image
from enliven.pipeline import AvatarPipeline, GenerateRequest
from enliven.request import Scene
from enliven.toonworld.character import caption
from enliven.toonworld.voice import Speech, write_speech


@runtime_checkable
class Talker(Protocol):
    """Makes the video of a case."""

    name: str

    def __call__(self, case: Case | GroupCase) -> UInt8[Tensor, "f 3 h w"]:
        """As many frames as the case has; the first one may be the portrait."""
        ...


class Drawn:
    """The drawn truth: what a perfect model would do."""

    name = "drawn truth"

    def __call__(self, case: Case | GroupCase) -> UInt8[Tensor, "f 3 h w"]:
        """The true performance, piece by piece to save memory."""
        return torch.cat([case.drawn(slice(start, start + 250)) for start in range(0, case.frames, 250)])


class Generated:
    """A model's video, from a portrait, a sound file and the caption, at default settings."""

    def __init__(self, pipeline: AvatarPipeline) -> None:
        self.pipeline = pipeline
        self.name = pipeline.spec.name

    def __call__(self, case: Case | GroupCase) -> UInt8[Tensor, "f 3 h w"]:
        """The generated frames."""
        with tempfile.TemporaryDirectory() as folder:
            if isinstance(case, GroupCase):
                request = request_for_group(case, Path(folder))
            else:
                request = request_for(case, Path(folder), self.pipeline.spec.size)
            return torch.cat([video.frames for video in self.pipeline.stream(request)])


def request_for(case: Case, folder: Path, size: tuple[int, int]) -> GenerateRequest:
    """Write the portrait at ``size`` (height, width) and the sound of a case into ``folder``; ask for its video.

    Who is to be elsewhere later is asked so with a timeline; who is described alone has no portrait, and that size.
    """
    sound, portrait = folder / "speech.flac", folder / "portrait.png"
    write_speech(case.speech, sound)
    request = GenerateRequest(audio=(sound,), prompt=case.prompt, seconds=case.frames / FPS, seed=case.seed)
    if isinstance(case, WordsCase):
        return replace(request, height=size[0], width=size[1])
    to_image(case.picture(size)).save(portrait)
    scenes = (Scene(case.half / FPS, caption(case.there)),) if isinstance(case, MovedCase) else ()
    return replace(request, portrait=portrait, timeline=scenes)


def request_for_group(case: GroupCase, folder: Path) -> GenerateRequest:
    """The same for several people; the portrait is as wide as they are many, and listeners have no sound file."""
    portrait = folder / "portrait.png"
    to_image(case.portrait).save(portrait)
    sounds = [folder / f"{index}.flac" if speaks else None for index, speaks in enumerate(case.speaks)]
    for sound, voice in zip(sounds, case.clip.voices, strict=True):
        if sound:
            write_speech(Speech(voice, (), "", ""), sound)
    return GenerateRequest(
        audio=tuple(sounds),
        speakers=case.places,
        prompt=case.prompt,
        portrait=portrait,
        seconds=case.frames / FPS,
        seed=case.seed,
    )
