"""Lessons of ablations: what is taught, and the one thing that is taken away from it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import nn

from enliven.data.encoded import EncodedClip
from enliven.data.failures import CAPTIONS
from enliven.errors import ConfigError
from enliven.models.wan import Wan
from enliven.models.wan_weights import fill_wan
from enliven.systems.spec import ModelSpec
from enliven.train.backbones import LoraChoice, cuts
from enliven.train.beginning import HEARS
from enliven.train.cuts import Cut, Cutting, PivotCuts, StitchedCuts
from enliven.types import LatentClip


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is taught, and how it differs: by default in nothing.

    ``silent`` people are told an encoded quiet recording, or zeros as in the usual training for two tasks (LongCat
    3.2). A chunk that continues another is cut out of a longer encoding (``stitched``), or is encoded on its ``own``
    (Eq. 11). ``general`` video without people and ``failures`` may be left out (Soul 3.2). The pivot shows the moment
    just before the clip in ``opening`` of the batches, 0..1, or as often as usual (Soul 3.2). With a ``gate`` what
    hears begins anew behind gates of this number (Soul 3.1); the ``projector`` of audio before it is new, too, or kept.
    With a ``lora`` only that is taught.
    """

    name: str
    silent: Literal["encoded", "zeros"] = "encoded"
    chunks: Literal["stitched", "own"] = "stitched"
    general: bool = True
    failures: bool = True
    opening: float | None = None
    gate: float | None = None
    projector: Literal["new", "kept"] = "new"
    lora: LoraChoice = field(default_factory=LoraChoice)

    def __post_init__(self) -> None:
        if self.opening is not None and not 0 <= self.opening <= 1:
            raise ConfigError(f"{self.name!r} opens {self.opening:g} of its batches", hint="give a share from 0 to 1")
        if self.opening is not None and self.chunks == "own":
            raise ConfigError(f"{self.name!r} has its own chunks and a pivot", hint="leave one out: no model has both")
        if self.projector == "kept" and self.gate is None:
            raise ConfigError(f"{self.name!r} keeps a projector, but makes nothing anew", hint="give it a gate")

    def told(self, clip: EncodedClip) -> EncodedClip | None:
        """A clip as it is taught; None where it is not."""
        if (not self.general and not clip.audio.any()) or (not self.failures and clip.caption in CAPTIONS):
            return None
        return replace(clip, audio=torch.zeros_like(clip.audio)) if clip.silent and self.silent == "zeros" else clip

    def cutting(self, spec: ModelSpec) -> Cutting:
        """How clips are cut. Raises ConfigError for chunks of their own where a model has a pivot, and the reverse."""
        usual = cuts(spec)
        if self.opening is not None:
            if not isinstance(usual, PivotCuts):
                raise ConfigError(f"{spec.name} has no pivot to open with", hint="name a Soul model")
            return replace(usual, opening=self.opening)
        if self.chunks == "stitched":
            return usual
        if not isinstance(usual, StitchedCuts):
            raise ConfigError(f"{spec.name} has no chunks to encode on their own", hint="name a LongCat model")
        return OwnChunks(usual)

    def beginning(self, network: nn.Module) -> nn.Module:
        """The network as it is taught first. Raises ConfigError where there is no gate, or no hearing to make anew."""
        if self.gate is None:
            return network
        if not isinstance(network, Wan) or network.params.audio is None or self.lora.rank:
            raise ConfigError(
                f"{self.name!r} makes what hears behind a gate anew, in the backbone of a Soul model",
                hint="name such a model, and no LoRA: it would lie beside the old backbone",
            )
        return hearing_anew(network, self.gate, kept="audio_proj." if self.projector == "kept" else "")


@dataclass(frozen=True, slots=True)
class OwnChunks:
    """Training without Cross-Chunk Latent Stitching: a chunk begins with the latent of a single frame.

    The toon encoder sees four frames at a time and nothing of others, so no other latent of the chunk differs.
    """

    stitched: StitchedCuts

    def __call__(self, clips: Sequence[EncodedClip]) -> Cut:
        """Draws its chances as ``StitchedCuts`` does."""
        cut = self.stitched(clips)
        if not cut.clip.layout.references:
            return cut
        nearest = [int((clip.reference_frames - cut.heard.start).abs().argmin()) for clip in clips]
        single = torch.stack([clip.references[place] for clip, place in zip(clips, nearest, strict=True)])
        truth, given = cut.clip.latents.clone(), cut.given.clone()
        truth[:, :, 1], given[:, :, 1] = single, single
        return replace(cut, clip=LatentClip(truth, cut.clip.layout), given=given)


def hearing_anew(network: Wan, gate: float, kept: str = "") -> Wan:
    """The same network before it heard anything: audio layers are copies of its text layers, gates ``gate`` (Soul 3.1).

    Whatever hears is new, but for weights whose names begin with what is ``kept``. All lessons begin with the same.
    """
    params = network.params
    assert params.audio is not None, "lessons with gates are of networks that hear"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = Wan(replace(params, audio=replace(params.audio, gate_init=gate)))
    learnt_before = network.state_dict()
    fill_wan(made, {name: value for name, value in learnt_before.items() if not HEARS.search(name)})
    if kept:
        made.load_state_dict({n: value for n, value in learnt_before.items() if n.startswith(kept)}, strict=False)
    return made
