"""Several processes share the passes of a guided step: each runs the network under some of the conditions."""

import logging
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributed import ProcessGroup

from enliven.runtime.mesh import gathered

log = logging.getLogger(__name__)

Told = TypeVar("Told")
Guide = TypeVar("Guide", bound=Callable[..., Tensor])  # see ``enliven.diffusion.guidance``


def share_passes(guide: Guide, group: ProcessGroup) -> Guide:
    """The same guide, whose passes are shared among the processes of ``group``, which all call it alike.

    What a guide asks for must not depend on what it was given: it is first rehearsed, to know its passes. Every
    process runs as many as any other, if need be one that is not needed, since all may be needed to gather weights.
    """

    def guided(velocity: Callable[[Told], Tensor], cond: Told) -> Float[Tensor, "b c t h w"]:
        asked = rehearse(guide, cond)
        count, own = group.size(), group.rank()
        if len(asked) < count:
            _warn_of_idle(count, len(asked))
        found: list[Tensor] = []
        for first in range(0, len(asked), count):
            found += gathered(velocity(asked[min(first + own, len(asked) - 1)]), group)
        answers = iter(found)
        return guide(lambda _: next(answers), cond)

    return guided  # type: ignore[return-value]


def rehearse(guide: Callable[..., Tensor], cond: Told) -> list[Told]:
    """The conditions under which a guide asks for velocities, in their order."""
    asked: list[Told] = []

    def listen(told: Told) -> Tensor:
        asked.append(told)
        return torch.zeros(1, 1, 1, 1, 1)

    guide(listen, cond)
    return asked


@cache
def _warn_of_idle(processes: int, passes: int) -> None:
    """Once, and not with every clip."""
    log.warning(
        "%d processes share the passes of a step and there are %d: the rest repeat one; give --parallel more context "
        "and less guidance",
        processes,
        passes,
    )
