"""How strongly conditions lead: classifier-free guidance as strategies."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from enliven.types import Conditioning

Velocity = Callable[[Conditioning], Float[Tensor, "b c t h w"]]


@runtime_checkable
class Guide(Protocol):
    """Makes one velocity of the velocities under several conditions."""

    def __call__(self, velocity: Velocity, cond: Conditioning) -> Float[Tensor, "b c t h w"]:
        """The guided velocity; ``velocity`` runs the backbone once each time it is called."""
        ...


@dataclass(frozen=True, slots=True)
class Guidance:
    """A scale for the text and one for the audio (LongCat-Video-Avatar, Eq. 2, regrouped by passes).

    ``text * v(t, a) + (audio - text) * v(0, a) + (1 - audio) * v(0, 0)``: passes of weight 0 are not run, so equal
    scales need two passes and a distilled model (1, 1) needs one.
    """

    text: float = 1.0
    audio: float = 1.0

    def __call__(self, velocity: Velocity, cond: Conditioning) -> Float[Tensor, "b c t h w"]:
        """The guided velocity."""
        passes = (
            (self.text, cond),
            (self.audio - self.text, cond.without(text=True)),
            (1 - self.audio, cond.without(text=True, audio=True)),
        )
        weighted = [weight * velocity(told) for weight, told in passes if weight]
        return sum(weighted[1:], weighted[0])


@dataclass(frozen=True, slots=True)
class ProjectedGuidance:
    """Text guidance whose unconditional velocity is first scaled onto the conditional one (CFG-Zero*).

    ``s * v(0) + text * (v(t) - s * v(0))`` with the least-squares ``s`` of each sample; what LongCat-Video uses.
    """

    text: float = 4.0

    def __call__(self, velocity: Velocity, cond: Conditioning) -> Float[Tensor, "b c t h w"]:
        """The guided velocity."""
        told = velocity(cond)
        if self.text == 1:
            return told
        untold = velocity(cond.without(text=True))
        axes = tuple(range(1, told.ndim))
        scale = (told * untold).sum(axes, keepdim=True) / (untold.square().sum(axes, keepdim=True) + 1e-8)
        return scale * untold + self.text * (told - scale * untold)


def guided(guide: Guide) -> bool:
    """Whether any of its scales is another than 1: else nothing is led away from anything."""
    return any(getattr(guide, name, 1) != 1 for name in ("text", "audio"))
