"""A stress of ours for what clips hand on, which no paper has: errors that add up from clip to clip."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import UInt8
from torch import Tensor

from enliven.errors import ConfigError
from enliven.models.networks import Networks
from enliven.systems.carry import Carried, Carry
from enliven.types import LatentClip


@dataclass(frozen=True, slots=True)
class Stressed:
    """Latents are handed on ``gain`` times as strong as those the clip was handed itself; then ``carry`` sees them.

    A clip of ours finds back to its reference, whatever it is handed, and nothing adds up. This is what a model would
    do whose clips are as strong as what they begin with, and a little more. Strength is the root mean square; the first
    clip was handed nothing, and begins with its own. Raises ConfigError for a ``carry`` of frames, which would not
    see the latents, and for a gain that is none.
    """

    carry: Carry
    gain: float
    continuous: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.carry.continuous:
            raise ConfigError("what is encoded again are frames, and the stress is in latents", hint="leave one out")
        if self.gain <= 0:
            raise ConfigError(f"a gain of {self.gain:g} leaves nothing", hint="for example 1.05")

    def __call__(
        self, clip: LatentClip, frames: UInt8[Tensor, "f 3 height width"], count: int, networks: Networks
    ) -> Carried:
        """What ``carry`` makes of the last latents, which are stronger than they were; what is shown stays."""
        given = clip.latents[:, :, clip.layout.references : clip.layout.clean]
        kept, own = clip.latents[:, :, : clip.latents.shape[2] - count], clip.last(count)
        wanted = self.gain * (strength(given) if given.numel() else strength(own))
        stronger = own * (wanted / strength(own).clamp(min=1e-6))
        return self.carry(replace(clip, latents=torch.cat([kept, stronger], dim=2)), frames, count, networks)

    def check(self, networks: Networks) -> None:
        """Raise WeightsError where ``carry`` misses a network."""
        self.carry.check(networks)

    def resolved(self, networks: Networks) -> "Stressed":
        """With every value that ``carry`` leaves to the networks."""
        return replace(self, carry=self.carry.resolved(networks))


def strength(latents: Tensor) -> Tensor:
    """The root mean square of all numbers."""
    return latents.square().mean().sqrt()
