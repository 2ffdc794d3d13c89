"""Toon clips on disk: drawn frames, sound, and the truth about both."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import overload

import torch
from jaxtyping import Float, UInt8
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import avg_pool2d

from enliven.toonworld.character import caption, sample_character
from enliven.toonworld.draw import draw
from enliven.toonworld.motion import calm_motion
from enliven.toonworld.state import FaceState
from enliven.toonworld.voice import Mouth, Speech, mouth_track

FPS = 25
RATE = 16_000


@dataclass(frozen=True, slots=True)
class ToonClip:
    """A drawn clip: what is seen, what is heard, and what is true.

    Where a pivot shows something else, in each moment of the clip, that is ``pictured``; and where the clip goes on
    from something else, that is ``before``.
    """

    frames: UInt8[Tensor, "f 3 h w"]
    samples: Float[Tensor, "n"]
    state: FaceState
    character: int
    caption: str
    silent: bool
    pictured: UInt8[Tensor, "f 3 h w"] | None = None
    before: UInt8[Tensor, "f 3 h w"] | None = None


def make_clip(
    seed: int,
    speech: Speech | None,
    *,
    character: int | None = None,
    frames: int = 61,
    size: tuple[int, int] = (128, 128),
) -> ToonClip:
    """Draw one clip; without speech it is a silent one, with the same body motion.

    Speech longer than the clip is cut at a random place, shorter speech stands at a random place in silence.
    """
    generator = torch.Generator().manual_seed(seed)
    identity = seed if character is None else character
    drawn = sample_character(identity)
    motion = calm_motion(frames, FPS, generator)
    samples, mouth = _spoken(speech, frames, generator)
    state = motion.with_mouth(mouth.open, mouth.width, mouth.round, mouth.teeth, mouth.tongue)
    pixels = (draw(drawn, state, size) * 255).round().clamp(0, 255).to(torch.uint8)
    return ToonClip(pixels, samples, state, identity, caption(drawn), speech is None)


def save_clip(clip: ToonClip, path: Path) -> None:
    """Write a clip as one safetensors file, moved into place when whole."""
    fresh = path.with_suffix(".new")
    truth = {f"state.{field.name}": getattr(clip.state, field.name).contiguous() for field in fields(clip.state)}
    others = {  # of their own memory: they may be one and the same
        name: video.clone()
        for name, video in (("pictured", clip.pictured), ("before", clip.before))
        if video is not None
    }
    save_file(
        {"frames": clip.frames, "samples": clip.samples.half(), **truth, **others},
        fresh,
        metadata={"character": str(clip.character), "caption": clip.caption, "silent": str(int(clip.silent))},
    )
    fresh.rename(path)


def load_clip(path: Path) -> ToonClip:
    """Read what ``save_clip`` wrote."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    state = FaceState(**{field.name: tensors[f"state.{field.name}"] for field in fields(FaceState)})
    return ToonClip(
        tensors["frames"],
        tensors["samples"].float(),
        state,
        int(metadata["character"]),
        metadata["caption"],
        metadata["silent"] == "1",
        tensors.get("pictured"),
        tensors.get("before"),
    )


def shrunk(clip: ToonClip, by: int) -> ToonClip:
    """The same clip, its sides divided by a whole number."""
    if by == 1:
        return clip

    def small(video: UInt8[Tensor, "f 3 h w"]) -> UInt8[Tensor, "f 3 low short"]:
        return avg_pool2d(video.float(), by).round().to(torch.uint8)

    pictured, before = (video if video is None else small(video) for video in (clip.pictured, clip.before))
    return replace(clip, frames=small(clip.frames), pictured=pictured, before=before)


class StoredFrames(Sequence[UInt8[Tensor, "f 3 h w"]]):
    """The frames of clips on disk, each read when it is asked for: many large clips do not fit into memory."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = tuple(paths)

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> UInt8[Tensor, "f 3 h w"]: ...
    @overload
    def __getitem__(self, index: slice) -> "StoredFrames": ...
    def __getitem__(self, index: int | slice) -> "UInt8[Tensor, 'f 3 h w'] | StoredFrames":
        if isinstance(index, slice):
            return StoredFrames(self.paths[index])
        with safe_open(self.paths[index], "pt") as file:
            return file.get_tensor("frames")


def _spoken(speech: Speech | None, frames: int, generator: torch.Generator) -> tuple[Tensor, Mouth]:
    """The sound of a clip and the mouth that makes it."""
    length = frames * RATE // FPS
    if speech is None:
        return torch.zeros(length), mouth_track((), frames, FPS)
    spoken = speech.samples.shape[0] * FPS // RATE
    offset = int(torch.randint(min(0, frames - spoken), max(1, frames - spoken + 1), (1,), generator=generator))
    whole = mouth_track(speech.phones, spoken, FPS)
    samples = _placed(speech.samples, offset * RATE // FPS, length)
    rest = mouth_track((), frames, FPS)
    placed = {
        field.name: _placed(getattr(whole, field.name), offset, frames, getattr(rest, field.name)[0])
        for field in fields(whole)
    }
    return samples, type(whole)(**placed)


def _placed(values: Tensor, offset: int, length: int, rest: Tensor | float = 0.0) -> Tensor:
    """``values`` moved by ``offset`` in a strip of ``length``; ``rest`` where there are none."""
    strip = torch.full((length,), float(rest))
    begin, end = max(0, offset), min(length, offset + values.shape[0])
    strip[begin:end] = values[begin - offset : end - offset]
    return strip
