"""What every diffusion transformer promises."""

from collections import defaultdict
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from enliven.types import Conditioning, LatentLayout


class BlockCache:
    """Keys and values of a clip's clean frames in one block; empty until the first ``extend``."""

    def __init__(self) -> None:
        self.keys: Float[Tensor, "b t s n d"] | None = None
        self.values: Float[Tensor, "b t s n d"] | None = None

    def extend(
        self, keys: Float[Tensor, "b t s n d"], values: Float[Tensor, "b t s n d"]
    ) -> tuple[Float[Tensor, "b all s n d"], Float[Tensor, "b all s n d"]]:
        """Keep the first keys and values it is given; put them in front of all later ones."""
        if self.keys is None or self.values is None:
            self.keys, self.values = keys, values
            return keys, values
        return torch.cat([self.keys, keys], 1), torch.cat([self.values, values], 1)


class ClipCache:
    """Keys and values of a clip's clean frames in every block, which hold for all denoising steps.

    The backbone fills an empty cache at its first call. One cache belongs to one clip and one layout.
    """

    def __init__(self) -> None:
        self._blocks: defaultdict[int, BlockCache] = defaultdict(BlockCache)

    def __getitem__(self, block: int) -> BlockCache:
        return self._blocks[block]

    @property
    def filled(self) -> bool:
        """Whether a pass over the clean frames has been made."""
        return bool(self._blocks)


Prediction = Literal["velocity", "clean"]
"""What a network's last layer gives. Small networks are better at clean latents: noise, which has no structure, then
need not pass through layers hardly wider than a patch."""

LEAST_SIGMA = 0.02


def velocity_of_clean(
    clean: Float[Tensor, "b c t h w"], noisy: Float[Tensor, "b c t h w"], sigma: Float[Tensor, "b t"]
) -> Float[Tensor, "b c t h w"]:
    """The velocity that leads from noisy latents at noise level ``sigma`` to the predicted clean ones."""
    return (noisy.float() - clean) / sigma.clamp(min=LEAST_SIGMA)[:, None, :, None, None]


@runtime_checkable
class Backbone(Protocol):
    """The network that predicts velocity, noise - clean, at noise level sigma in 0..1.

    Clean frames are given, so their velocity is zero. ``blocks`` are the repeated units: whoever runs the network
    from outside (recomputation, compilation, sharding) takes hold of them there.
    """

    blocks: nn.ModuleList

    def __call__(
        self,
        latents: Float[Tensor, "b c t h w"],
        sigma: Float[Tensor, "b t"],
        cond: Conditioning,
        layout: LatentLayout,
        cache: ClipCache | None = None,
    ) -> Float[Tensor, "b c t h w"]:
        """Velocity of every latent frame.

        With a cache, which needs ``layout.cacheable``, clean frames are computed once and noise frames alone after
        that: the result is the same.
        """
        ...
