"""The nouns everything else shares.

Axis names: ``b`` batch, ``f`` video frames, ``t`` latent frames, ``h w`` latent height and width, ``s`` spatial
tokens of one latent frame, ``c`` channels or width, ``n`` heads, ``d`` head size, ``a`` audio tokens of one latent
frame, ``l`` text tokens, ``p`` people.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

Soundless = Literal["silence", "null"]  # what is heard where there is no sound: encoded silence, or null audio


class Role(StrEnum):
    """What a latent frame is to the clip it stands in."""

    REFERENCE = "reference"
    CONTEXT = "context"
    NOISE = "noise"


@dataclass(frozen=True, slots=True)
class AttentionRule:
    """The latent frames ``queries`` see the latent frames ``keys``, and nothing else.

    ``bias`` holds one number per key range, added to its attention logits: the natural logarithm of how strongly
    that range is seen. Empty means 0 for all.
    """

    queries: range
    keys: tuple[range, ...]
    bias: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.bias and len(self.bias) != len(self.keys):
            raise ValueError(f"{len(self.bias)} biases for {len(self.keys)} key ranges; give one for each, or none")


@dataclass(frozen=True, slots=True)
class LatentLayout:
    """How the latent frames of one clip are arranged: role, RoPE time and visibility of each.

    Clean frames (reference, context) come first, noise after. The queries of ``attention`` tile the frames in order.
    """

    roles: tuple[Role, ...]
    positions: tuple[float, ...]
    attention: tuple[AttentionRule, ...]

    def __post_init__(self) -> None:
        if len(self.positions) != len(self.roles):
            raise ValueError(f"{len(self.positions)} positions for {len(self.roles)} latent frames")
        if any(role is not Role.NOISE for role in self.roles[self.clean :]):
            raise ValueError(f"clean frames must stand before noise, got {[str(role) for role in self.roles]}")
        tiled = [frame for rule in self.attention for frame in rule.queries]
        if tiled != list(range(len(self.roles))):
            raise ValueError(f"attention queries must tile frames 0..{len(self.roles) - 1} in order, got {tiled}")

    def __len__(self) -> int:
        return len(self.roles)

    @property
    def clean(self) -> int:
        """How many leading frames are given."""
        return next((i for i, role in enumerate(self.roles) if role is Role.NOISE), len(self.roles))

    @property
    def references(self) -> int:
        """How many leading frames are reference frames."""
        return sum(role is Role.REFERENCE for role in self.roles)

    @property
    def cacheable(self) -> bool:
        """Clean frames never see noise, so their keys and values hold for all steps."""
        return self.clean > 0 and all(
            keys.stop <= self.clean for rule in self.attention if rule.queries.start < self.clean for keys in rule.keys
        )


@dataclass(frozen=True, slots=True)
class ClipPlan:
    """One clip on the output timeline, in video frames.

    ``emits`` are the frames it adds; ``context`` the frames repeated from before; ``frames`` all that it makes. The
    last clip of a shot may make more than it emits.
    """

    index: int
    emits: range
    context: int
    frames: int
    layout: LatentLayout

    @property
    def hears(self) -> range:
        """The video frames whose audio the clip listens to; negative ones lie before the video."""
        start = self.emits.start - self.context
        return range(start, start + self.frames)

    @property
    def cut(self) -> bool:
        """It begins another shot, and goes on from nothing."""
        return self.index > 0 and self.context == 0


@dataclass(frozen=True, slots=True)
class LatentClip:
    """Latents and what each of their frames is."""

    latents: Float[Tensor, "b c t h w"]
    layout: LatentLayout

    def last(self, count: int) -> Float[Tensor, "b c count h w"]:
        """The last ``count`` latent frames, which the next clip may take as context."""
        return self.latents[:, :, self.latents.shape[2] - count :]


@dataclass(frozen=True, slots=True)
class Text:
    """Encoded text, padded; ``mask`` is true where a token is real (None: all are)."""

    tokens: Float[Tensor, "b l c"]
    mask: Bool[Tensor, "b l"] | None = None


UNHEARD = (1, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Conditioning:
    """What the backbone is told about one clip.

    ``audio`` holds, for each video frame of the clip, a window of encoder features: ``w`` neighbours of ``layers``
    hidden states. All zeros is *null audio* (guidance); *silence* is an encoded quiet waveform and not zero. What is
    told to a model that hears nothing has no people, the shape ``UNHEARD``.
    ``regions``, of any size, are where each of several people is in the first frame, and last the background.
    """

    text: Text
    null_text: Text
    audio: Float[Tensor, "b p f w layers c"]
    regions: Bool[Tensor, "b regions height width"] | None = None

    def without(self, *, text: bool = False, audio: bool = False) -> "Conditioning":
        """The same conditions with the text replaced by the negative one, or the audio by null audio."""
        return replace(
            self,
            text=self.null_text if text else self.text,
            audio=torch.zeros_like(self.audio) if audio else self.audio,
        )


@dataclass(frozen=True, slots=True)
class Audio:
    """Sound samples in -1..1 at ``rate`` hertz."""

    samples: Float[Tensor, "channels samples"]
    rate: int

    @property
    def seconds(self) -> float:
        """How long it sounds."""
        return self.samples.shape[-1] / self.rate


@dataclass(frozen=True, slots=True)
class Video:
    """Frames in 0..255 at ``fps`` frames a second, with or without sound."""

    frames: UInt8[Tensor, "f 3 h w"]
    fps: float
    audio: Audio | None = None

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return self.frames.shape[0] / self.fps


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a piece of work has come: ``done`` of ``total`` units of ``stage``."""

    stage: str
    done: int
    total: int

    @property
    def fraction(self) -> float:
        """The share done, in 0..1; not a number when there is nothing to do."""
        return self.done / self.total if self.total else math.nan


OnProgress = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """The default listener: hears and does nothing."""
