"""Several processes that make one video: how the work is shared, and who exchanges with whom.

The processes stand in a grid, guidance by context. Those in a row share the tokens of a pass
(``runtime.context_parallel``), those in a column the passes of a step (``runtime.guidance_parallel``). All of them may
share the weights (``runtime.sharding``). With 2 and 2:

                 context 0    context 1
    guidance 0   process 0    process 1      one pass, each half of its tokens
    guidance 1   process 2    process 3      another pass
"""

import os
from dataclasses import dataclass, fields
from itertools import count

import torch
from jaxtyping import Float
from torch import Tensor, distributed
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh

from enliven.errors import ConfigError
from enliven.runtime.launch import PATIENCE, meeting_place, process_count, process_rank

CONTEXT, GUIDANCE = "context", "guidance"
MEETINGS = count()  # of these processes, who may part and meet again


@dataclass(frozen=True, slots=True)
class Parallel:
    """How many processes share the tokens of a pass, how many the passes; and whether all share the weights."""

    context: int = 1
    guidance: int = 1
    sharded: bool = False

    def __post_init__(self) -> None:
        for name in (CONTEXT, GUIDANCE):
            if getattr(self, name) < 1:
                raise ConfigError(f"--parallel {name}={getattr(self, name)}", hint="give at least 1")

    @property
    def processes(self) -> int:
        """How many processes that takes."""
        return self.context * self.guidance

    @classmethod
    def parse(cls, told: str | None) -> "Parallel":
        """What ``context=2,guidance=2,sharded`` stands for, any of them left out; None is alone. Raises ConfigError."""
        if told is None:
            return cls()
        names = [field.name for field in fields(cls)]
        given: dict[str, int | bool] = {}
        for part in told.split(","):
            name, equals, number = part.strip().partition("=")
            counted = name in (CONTEXT, GUIDANCE) and number.isdecimal()
            if name in given or not (counted or (name == "sharded" and not equals)):
                raise ConfigError(
                    f"--parallel {told!r} is not known: {part.strip()!r} is none of {', '.join(names)}, or not once",
                    hint="for example: --parallel context=2,guidance=2 or --parallel context=4,sharded",
                )
            given[name] = int(number) if counted else True
        return cls(**given)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"context={self.context},guidance={self.guidance}" + (",sharded" if self.sharded else "")


@dataclass(frozen=True, slots=True)
class Mesh:
    """The processes, as one of them sees them: its ``device``, and the grid with the axes guidance and context."""

    parallel: Parallel
    device: torch.device
    grid: DeviceMesh

    @property
    def context(self) -> ProcessGroup:
        """Those that share the tokens of a pass with this one."""
        return self.grid.get_group(CONTEXT)

    @property
    def guidance(self) -> ProcessGroup:
        """Those that hold the same tokens of other passes."""
        return self.grid.get_group(GUIDANCE)

    @property
    def leads(self) -> bool:
        """Whether this process writes what all have made."""
        return self.grid.get_rank() == 0

    def meet(self) -> None:
        """Wait until every process is here."""
        here = torch.zeros(1, device=self.device)
        distributed.all_reduce(here)
        here.item()

    @property
    def everyone(self) -> DeviceMesh:
        """All processes in a row."""
        return DeviceMesh(self.device.type, torch.arange(self.parallel.processes))


def require_processes(parallel: Parallel) -> None:
    """Raise ConfigError where another number was started than the work is to be shared among."""
    if process_count() != parallel.processes:
        raise ConfigError(
            f"--parallel {parallel} is for {parallel.processes} processes, but {process_count()} started",
            hint=f"let context times guidance be {process_count()}, "
            f"or start it as: torchrun --nproc-per-node {parallel.processes} -m enliven generate ...",
        )


def join(parallel: Parallel, device: str = "auto") -> Mesh | None:
    """Meet the other processes that were started with this one; each has a GPU of its own, where there are any.

    One that is alone has nobody to meet. Raises as ``require_processes``.
    """
    require_processes(parallel)
    if parallel.processes == 1:
        return None
    chosen = own_device(device)
    if not distributed.is_initialized():
        distributed.init_process_group(
            "nccl" if chosen.type == "cuda" else "gloo",
            store=distributed.PrefixStore(f"meeting {next(MEETINGS)}", meeting_place()),  # type: ignore[attr-defined]
            rank=process_rank(),
            world_size=process_count(),
            timeout=PATIENCE,
        )
    return Mesh(parallel, chosen, grid(parallel, chosen))


def leave() -> None:
    """Part from the others, if any were met, when all is done."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def grid(parallel: Parallel, device: torch.device) -> DeviceMesh:
    """The first processes in a grid; neighbours, between which the links are quick, share tokens."""
    ranks = torch.arange(parallel.processes).view(parallel.guidance, parallel.context)
    return DeviceMesh(device.type, ranks, mesh_dim_names=(GUIDANCE, CONTEXT))


def gathered(own: Float[Tensor, "*shape"], group: ProcessGroup) -> Float[Tensor, "processes *shape"]:
    """What each process of ``group`` has, in their order."""
    parts = own.new_empty(group.size(), *own.shape)
    distributed.all_gather(list(parts), own.contiguous(), group)
    return parts


def own_device(device: str = "auto") -> torch.device:
    """The GPU that has the number of this process on its machine, or the CPU.

    Raises ConfigError where there are fewer GPUs, or where all were to share one.
    """
    gpus = torch.cuda.device_count()
    if device == "cpu" or (device == "auto" and not gpus):
        return torch.device("cpu")
    index = int(os.environ.get("LOCAL_RANK", process_rank()))
    if device not in ("auto", "cuda") or index >= gpus:
        raise ConfigError(
            f"process {index} of this machine has no {device} device of its own; there are {gpus} GPUs",
            hint="start as many processes as there are GPUs, and let the device be auto or cpu",
        )
    torch.cuda.set_device(index)
    return torch.device("cuda", index)
