"""Several processes share the weights of a network: each keeps a part, and all of a block come together while it runs.

For devices on which a network is too large for one and small enough for all (FSDP2). The numbers stay the same.
"""

from dataclasses import replace

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

from enliven.errors import ConfigError
from enliven.runtime.memory import NetworkNeeds


def share_weights(network: nn.Module, mesh: DeviceMesh) -> None:
    """Let the processes of ``mesh`` share the weights of a backbone, which all of them then call equally often.

    The weights come from the CPU block by block, so no device ever holds them all. Buffers are not shared: of what they
    hold, every process has all. Raises ConfigError where that is more than is shared (int8).
    """
    shared, kept = (sum(value.nbytes for value in values) for values in (network.parameters(), network.buffers()))
    if kept > shared:
        raise ConfigError(
            f"weights of 8 bits cannot be shared among {mesh.size()} processes: {kept} bytes of them stay with each",
            hint="leave sharded out, or take weights of 16 bits",
        )
    part_out(network, mesh, learns=False)


def part_out(network: nn.Module, mesh: DeviceMesh, *, learns: bool) -> None:
    """Leave each process of ``mesh`` its part of the network's ``blocks`` and of all beside them.

    What is beside them stays together until the backward pass of a network that ``learns``.
    """
    blocks = network.blocks
    assert isinstance(blocks, nn.ModuleList)
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(network, mesh=mesh, reshard_after_forward=not learns)


def own_part(part: NetworkNeeds, processes: int) -> NetworkNeeds:
    """What each of the processes holds of a network: its share and, while it runs, the block that runs and the next."""
    return replace(part, parameters=part.parameters // processes + 2 * max(part.blocks, default=0), blocks=())
