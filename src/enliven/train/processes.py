"""What several processes of ``torch.distributed`` do together; one that is alone has everything already.

    torchrun --nproc-per-node 8 -m enliven train recipe.toml

starts them. None of them needs to know how many there are, but for what it asks here.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from enliven.runtime.launch import caught, unless_failed

T = TypeVar("T")

ALONE = ContextVar("ALONE", default=False)  # the others wait
PREPARING = timedelta(days=7)  # others wait while the first process prepares data


@contextmanager
def joined(device: str) -> Iterator[None]:
    """Join the processes that ``torchrun`` started, each with its own GPU; nothing happens to a process alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or distributed.is_initialized():
        yield
        return
    if device.startswith("cuda"):
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo", timeout=PREPARING)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def rank_and_count() -> tuple[int, int]:
    """Which process this is, and of how many."""
    if not ALONE.get() and distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def own_share(items: Sequence[T]) -> Sequence[T]:
    """This process's part: neighbours, so that the parts in the order of ranks are the whole."""
    rank, count = rank_and_count()
    return items[len(items) * rank // count : len(items) * (rank + 1) // count]


def summed(own: Tensor) -> Tensor:
    """The sum of ``own`` over all processes, in place."""
    if rank_and_count()[1] > 1:
        distributed.all_reduce(own)
    return own


def collected(own: Sequence[T]) -> list[T]:
    """What all processes have, in the order of ranks."""
    if rank_and_count()[1] == 1:
        return list(own)
    parts: list[Sequence[T]] = [()] * rank_and_count()[1]
    distributed.all_gather_object(parts, own)
    return [each for part in parts for each in part]


def broadcast(find: Callable[[], T]) -> T:
    """What the first process finds, in all of them: files may come while they look. All ask; all fail where it does."""
    rank, count = rank_and_count()
    if count == 1:
        return find()
    found: list[Any] = [caught(find) if rank == 0 else None]
    distributed.broadcast_object_list(found)
    return unless_failed(found[0])


def agreed(*own: bool) -> tuple[bool, ...]:
    """Of each, whether it holds for any process."""
    return own if rank_and_count()[1] == 1 else tuple(map(bool, summed(torch.tensor(own, dtype=torch.float)).tolist()))


def mean(own: float) -> float:
    """The mean over all processes, the same in each."""
    count = rank_and_count()[1]
    return own if count == 1 else float(summed(torch.tensor(own, dtype=torch.float64))) / count


def meet() -> None:
    """Wait until every process is here."""
    if rank_and_count()[1] > 1:
        summed(torch.zeros(1))


def first_alone(work: Callable[[], None]) -> None:
    """Let the first process do ``work`` that is done once, as if it were the only one, while the others wait for it.

    Where it fails, it fails there with its own error and the others end with it: ``torchrun`` stops them.
    """
    if rank_and_count()[0] == 0:
        before = ALONE.set(True)
        work()
        ALONE.reset(before)
    meet()
