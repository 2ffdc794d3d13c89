"""What several processes of ``torch.distributed`` do together; one that is alone has everything already."""

from collections.abc import Sequence
from typing import TypeVar

from torch import Tensor, distributed

T = TypeVar("T")


def rank_and_count() -> tuple[int, int]:
    """Which process this is, and of how many."""
    if distributed.is_available() and distributed.is_initialized():
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


def gathered(own: Sequence[T]) -> list[T]:
    """What all processes have, in the order of ranks."""
    if rank_and_count()[1] == 1:
        return list(own)
    parts: list[Sequence[T]] = [()] * rank_and_count()[1]
    distributed.all_gather_object(parts, own)
    return [each for part in parts for each in part]
