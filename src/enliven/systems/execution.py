"""How a model runs: on which device, by which plan of memory its networks come and go, and shared with whom.

What it makes stays the same, but for weights that are made small: of 8 bits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from enliven.diffusion.guidance import Guide
from enliven.errors import RequestError
from enliven.media.image import to_pixels
from enliven.models.backbone import ClipCache
from enliven.models.fp8 import to_fp8
from enliven.models.int8 import to_int8
from enliven.models.networks import LARGE_PARTS
from enliven.models.published import Part
from enliven.models.quantised import QuantisedLinear
from enliven.models.vae import DecodeStream
from enliven.runtime.context_parallel import share_tokens
from enliven.runtime.guidance_parallel import share_passes
from enliven.runtime.memory import BACKBONE, TEXT, MemoryPlan
from enliven.runtime.mesh import Mesh
from enliven.runtime.offload import FiledBlocks, offload_blocks
from enliven.runtime.sharding import share_weights
from enliven.systems.footprint import DTYPES
from enliven.types import LatentLayout

READING_BLOCKS = "network.encoder.block."  # of the text encoder
WHOLE = MemoryPlan("float32")
SHRINK = {"int8": to_int8, "fp8": to_fp8}


@dataclass(frozen=True, slots=True)
class Execution:
    """Where and how a model runs, see ``MemoryPlan``; with a ``mesh``, by several processes that all do the same."""

    device: str = "cpu"
    plan: MemoryPlan = WHOLE
    mesh: Mesh | None = None

    @property
    def leads(self) -> bool:
        """Whether this process writes what is made: of several, one does."""
        return self.mesh is None or self.mesh.leads

    @property
    def dtype(self) -> torch.dtype:
        """What backbone and text encoder run in."""
        return DTYPES[self.plan.dtype]

    def load(self, name: str, part: Part, change: Callable[[Any], None] | None = None) -> Any:
        """Read a network, ``change`` it, and put it where it is to be. Raises WeightsError."""
        network = part.load(self.dtype if name in LARGE_PARTS else None)
        if name == BACKBONE and self.plan.quantise != "none":
            self._make_small(network)
        if change is not None:
            change(network)
        if name == BACKBONE and self.mesh is not None:
            self._share(network, self.mesh)
        self._place(name, network, part)
        return network

    def guide(self, guide: Guide) -> Guide:
        """The same guide; its passes are shared where the processes are to."""
        if self.mesh is None or self.mesh.parallel.guidance == 1:
            return guide
        return share_passes(guide, self.mesh.guidance)

    def meet(self) -> None:
        """Wait until every process that shares the work is here."""
        if self.mesh is not None:
            self.mesh.meet()

    def cache(self, layout: LatentLayout) -> ClipCache | None:
        """Where the keys of a clip's clean frames are kept, if they can be and shall."""
        return ClipCache() if layout.cacheable and self.plan.cache else None

    def decode(
        self, decoder: DecodeStream, latents: Float[Tensor, "1 c t h w"]
    ) -> UInt8[Tensor, "frames 3 height width"]:
        """The pixels of the next latents, on the CPU."""
        pieces = latents.split(1, dim=2) if self.plan.stream_decoder else (latents,)
        return torch.cat([to_pixels(decoder.push(piece)[0].transpose(0, 1)).cpu() for piece in pieces])

    def _make_small(self, backbone: Any) -> None:
        """Block after block, where it is quick; what is not small yet stays in its file."""
        if any(isinstance(layer, QuantisedLinear) for layer in backbone.modules()):
            return  # it was published so
        shrink = SHRINK[self.plan.quantise]
        for block in backbone.blocks:
            shrink(block.to(self.device))
            if self.plan.offload:
                block.cpu()
        shrink(backbone)

    def _share(self, backbone: Any, mesh: Mesh) -> None:
        """Before it is on the device, which may be too small for the whole."""
        if mesh.parallel.sharded:
            if self.plan.offload:
                raise RequestError(
                    f"the shares of {mesh.parallel.processes} processes do not fit their devices", hint="start more"
                )
            share_weights(backbone, mesh.everyone)
        if mesh.parallel.context > 1:
            share_tokens(backbone, mesh.context)

    def _place(self, name: str, network: Any, part: Part) -> None:
        if name == BACKBONE and self.plan.offload:
            store = None if self.plan.held else FiledBlocks.placed(part.places())
            offload_blocks(network, self.device, store=store)
        elif name == TEXT and self.plan.release_text:
            places = part.places()
            blocks, rest = FiledBlocks.placed(places, READING_BLOCKS), FiledBlocks.beside(places, READING_BLOCKS)
            offload_blocks(network, self.device, blocks=network.network.encoder.block, store=blocks, rest=rest)
        else:
            network.to(self.device)
