"""A network shared by several processes: blocks in parts (FSDP2), gradients and norms over all of it.

What one process does alone is the same, with nothing to share.
"""

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate
from torch.nn.utils import get_total_norm
from torch.utils.checkpoint import checkpoint

from enliven.runtime.sharding import part_out
from enliven.train.lora import as_now
from enliven.train.processes import rank_and_count, summed


def share(networks: Iterable[nn.Module], device: str) -> None:
    """Give every process the weights of the first one; of networks with ``blocks``, only its part of each block.

    Other networks are small, and whole in every process.
    """
    count = rank_and_count()[1]
    if count == 1:
        return
    mesh = init_device_mesh(torch.device(device).type, (count,))
    for network in networks:
        for value in (*network.parameters(), *network.buffers()):
            distributed.broadcast(value.detach(), 0)
        if blocks_of(network):
            part_out(network, mesh, learns=True)


def blocks_of(network: nn.Module) -> Sequence[nn.Module]:
    """The row of blocks that most of a large network is; a small one has none."""
    blocks = getattr(network, "blocks", None)
    return list(blocks) if isinstance(blocks, nn.ModuleList) else []


def recompute_blocks(networks: Iterable[nn.Module]) -> None:
    """Keep of each block only what goes in, and compute it once more on the way back: less memory, a third slower."""
    for network in networks:
        for block in blocks_of(network):
            again = partial(as_now, block)
            block.forward = partial(checkpoint, block.forward, use_reentrant=False, context_fn=again)


def skeleton(network: nn.Module) -> nn.Module:
    """A copy of a network without its weights."""
    bare: dict[int, object] = {}
    for value in network.state_dict(keep_vars=True).values():
        empty = value.detach().to("meta")
        bare[id(value)] = (
            nn.Parameter(empty, requires_grad=value.requires_grad) if isinstance(value, nn.Parameter) else empty
        )
    return copy.deepcopy(network, bare)


def whole(value: Tensor) -> Tensor:
    """A tensor of which every process has a part, as every process wants it: all of it. All have to ask."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def gathered(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of tensors, all of each, in the main memory of the first process; nothing in the others. All have to ask.

    They come one at a time, so that no other process, and no GPU, ever holds all of them.
    """
    first, found = rank_and_count()[0] == 0, dict[str, Tensor]()
    for key, value in values.items():
        everything = whole(value)
        if first:
            found[key] = everything.to("cpu", copy=True)
    return found


def part_of(everything: Tensor, like: Tensor) -> Tensor:
    """This process's part of a tensor, divided as ``like`` is; no process needs to ask another."""
    if not isinstance(like, DTensor):
        return everything
    mesh = like.device_mesh
    everywhere = DTensor.from_local(everything, mesh, [Replicate()] * mesh.ndim, run_check=False)
    return everywhere.redistribute(mesh, like.placements)


@torch.no_grad()
def put(target: Tensor, everything: Tensor) -> None:
    """Set a tensor, or this process's part of it."""
    target.copy_(part_of(everything.to(target.device, target.dtype), target))


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """The mean over all processes, where FSDP has not made it already."""
    count = rank_and_count()[1]
    plain = [value for value in parameters if value.requires_grad and not isinstance(value, DTensor)]
    if count == 1 or not plain:
        return
    reached = summed(torch.tensor([float(value.grad is not None) for value in plain], device=plain[0].device))
    for value in (each for each, times in zip(plain, reached.tolist(), strict=True) if times):
        value.grad = torch.zeros_like(value) if value.grad is None else value.grad
        value.grad = summed(value.grad.contiguous()).div_(count)


def clip_gradients(parameters: Iterable[nn.Parameter], most: float) -> Float[Tensor, ""]:
    """Scale gradients down until their common norm over all processes is ``most``; returns what it was.

    A norm that is not finite leaves them as they are: it can then be seen where it comes from.
    """
    gradients = [value.grad for value in parameters if value.grad is not None]
    common = [value for value in gradients if not isinstance(value, DTensor)]
    own = [value.to_local() for value in gradients if isinstance(value, DTensor)]
    norm: Tensor = get_total_norm(common)
    if own:
        norm = (summed(get_total_norm(own).square()) + norm.to(own[0].device).square()).sqrt()
    if common or own:
        scale = (most / (norm + 1e-6)).clamp(max=1.0) if math.isfinite(most) else torch.ones_like(norm)
        torch._foreach_mul_([*common, *own], torch.where(norm.isfinite(), scale, 1.0))
    return norm
