"""What a finished clip hands to the next one."""

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from jaxtyping import Float, UInt8
from torch import Tensor

from enliven.models.vae import VideoAutoencoder
from enliven.types import LatentClip


@runtime_checkable
class Carry(Protocol):
    """The end of a clip as the context of the next.

    ``continuous``: what is handed over are the latents that were decoded, so one causal decoder can run through the
    whole video.
    """

    continuous: ClassVar[bool]

    def __call__(
        self, clip: LatentClip, frames: UInt8[Tensor, "f 3 height width"], count: int, autoencoder: VideoAutoencoder
    ) -> Float[Tensor, "b c count h w"]:
        """``count`` latent frames for the next clip, from the latents of this one and its last video frames."""
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
        autoencoder: VideoAutoencoder,  # noqa: ARG002
    ) -> Float[Tensor, "b c count h w"]:
        """The last latents of the clip."""
        return clip.last(count)


@dataclass(frozen=True, slots=True)
class Reencode:
    """The usual way, and that of LongCat-Video-Avatar 1.5: the last 8-bit frames are encoded again."""

    continuous: ClassVar[bool] = False

    def __call__(
        self,
        clip: LatentClip,
        frames: UInt8[Tensor, "f 3 height width"],
        count: int,
        autoencoder: VideoAutoencoder,
    ) -> Float[Tensor, "b c count h w"]:
        """The last frames as latents; the first of them stands for one frame."""
        last = frames[len(frames) - (autoencoder.temporal_factor * (count - 1) + 1) :]
        video = (last.to(clip.latents) / 127.5 - 1).transpose(0, 1)[None]
        return autoencoder.encode(video)
