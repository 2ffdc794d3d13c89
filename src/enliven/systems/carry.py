"""What a finished clip hands to the next one."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Float, UInt8
from torch import Tensor

from enliven.errors import WeightsError
from enliven.models.networks import Networks
from enliven.types import LatentClip


@dataclass(frozen=True, slots=True)
class Carried:
    """The context of the next clip, and what is worth telling of how it came about: shares in 0..1, by name."""

    context: Float[Tensor, "b c count h w"]
    shares: Mapping[str, float] = field(default_factory=dict)


@runtime_checkable
class Carry(Protocol):
    """The end of a clip as the context of the next.

    ``continuous``: the next clip goes on from the very latents that were decoded, so one causal decoder can run through
    the whole video.
    """

    continuous: ClassVar[bool]

    def __call__(
        self, clip: LatentClip, frames: UInt8[Tensor, "f 3 height width"], count: int, networks: Networks
    ) -> Carried:
        """``count`` latent frames for the next clip, from the latents of this one and its last video frames."""
        ...

    def check(self, networks: Networks) -> None:
        """Raise WeightsError where a network is missing that this will need."""
        ...

    def resolved(self, networks: Networks) -> "Carry":
        """The same, with every value that is left to the networks."""
        ...


@dataclass(frozen=True, slots=True)
class KeepLatents:
    """Cross-Chunk Latent Stitching (LongCat-Video-Avatar 3.4): latents go over as they are."""

    continuous: ClassVar[bool] = True

    def __call__(
        self,
        clip: LatentClip,
        frames: UInt8[Tensor, "f 3 height width"],  # noqa: ARG002
        count: int,
        networks: Networks,  # noqa: ARG002
    ) -> Carried:
        """The last latents of the clip."""
        return Carried(clip.last(count))

    def check(self, networks: Networks) -> None:
        """Every model has what this needs."""

    def resolved(self, networks: Networks) -> "KeepLatents":  # noqa: ARG002
        """Nothing is left to the networks."""
        return self


@dataclass(frozen=True, slots=True)
class RepairLatents:
    """Soul 3.2: latents that strayed from all real ones are led back by the codebook; those shown stay as they are.

    ``percentile`` of real latents, in percent, would be left alone; None means as many as the codebook was learnt for.
    Where the model has no codebook, latents go over as they are if it is not ``required``.
    """

    percentile: float | None = None
    required: bool = True
    continuous: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.percentile is not None and not 0 <= self.percentile <= 100:
            raise ValueError(f"percentile {self.percentile:g} is not in 0..100")

    def __call__(
        self,
        clip: LatentClip,
        frames: UInt8[Tensor, "f 3 height width"],  # noqa: ARG002
        count: int,
        networks: Networks,
    ) -> Carried:
        """The last latents of the clip, repaired, and the share of them that was ``clipped``."""
        self.check(networks)
        if networks.codebook is None:
            return Carried(clip.last(count))
        repaired, clipped = networks.codebook.repair(clip.last(count), self.percentile)
        return Carried(repaired, {"clipped": clipped})

    def check(self, networks: Networks) -> None:
        """Raise WeightsError where there is no codebook but has to be one."""
        if self.required and networks.codebook is None:
            raise WeightsError(
                "this model repairs what a clip hands to the next, but has no codebook",
                hint="fit one with `enliven codebook fit`, and put its folder `codebook` beside `backbone`",
            )

    def resolved(self, networks: Networks) -> "RepairLatents":
        """With the percentile of the codebook where none is given."""
        if self.percentile is not None or networks.codebook is None:
            return self
        return replace(self, percentile=networks.codebook.params.percentile)


@dataclass(frozen=True, slots=True)
class Reencode:
    """The usual way, and that of LongCat-Video-Avatar 1.5: the last 8-bit frames are encoded again."""

    continuous: ClassVar[bool] = False

    def __call__(
        self, clip: LatentClip, frames: UInt8[Tensor, "f 3 height width"], count: int, networks: Networks
    ) -> Carried:
        """The last frames as latents; the first of them stands for one frame."""
        autoencoder = networks.autoencoder
        last = frames[len(frames) - (autoencoder.temporal_factor * (count - 1) + 1) :]
        video = (last.to(clip.latents) / 127.5 - 1).transpose(0, 1)[None]
        return Carried(autoencoder.encode(video))

    def check(self, networks: Networks) -> None:
        """Every model has what this needs."""

    def resolved(self, networks: Networks) -> "Reencode":  # noqa: ARG002
        """Nothing is left to the networks."""
        return self
