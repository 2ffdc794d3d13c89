"""Noise levels and the Euler steps between them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from enliven.errors import ConfigError


@runtime_checkable
class Schedule(Protocol):
    """The noise levels of a denoising run."""

    def __call__(self, steps: int) -> list[float]:
        """Falling noise levels, ending with 0: one more than there are steps."""
        ...


@dataclass(frozen=True, slots=True)
class LinearSchedule:
    """Levels evenly from 1 to 0.001, bent towards noise by ``shift``."""

    shift: float

    def __call__(self, steps: int) -> list[float]:
        """``steps`` levels and 0."""
        _check_steps(steps)
        falls = [index / max(1, steps - 1) for index in range(steps)]
        return [*(bend(1 - 0.999 * fall, self.shift) for fall in falls), 0.0]


@dataclass(frozen=True, slots=True)
class AnchorSchedule:
    """Levels picked evenly from the ``anchors`` a few-step model was distilled at, bent by ``shift``."""

    anchors: tuple[float, ...] = field(repr=False)
    shift: float

    def __call__(self, steps: int) -> list[float]:
        """``steps`` of the anchors and 0. Raises ConfigError when there are not as many anchors."""
        _check_steps(steps)
        count = len(self.anchors)
        if steps > count:
            raise ConfigError(
                f"{steps} steps, but the model knows {count} noise levels", hint=f"use 1 to {count} steps"
            )
        return [*(bend(self.anchors[index * count // steps], self.shift) for index in range(steps)), 0.0]


@dataclass(frozen=True, slots=True)
class DetailSchedule:
    """Another schedule down to 0.5, then ten even steps to 0: fine detail is settled there (``enhance_hf``)."""

    above: Schedule

    def __call__(self, steps: int) -> list[float]:
        """The levels over 0.5 of the other schedule, then 0.5, 0.45 ... 0.05 and 0."""
        return [*(level for level in self.above(steps) if level > 0.5), *(index / 20 for index in range(10, -1, -1))]


@dataclass(frozen=True, slots=True)
class LateSchedule:
    """Another schedule from ``start`` on: for latents that are a picture already (refinement)."""

    of: Schedule
    start: float = 0.5

    def __call__(self, steps: int) -> list[float]:
        """``start`` and the lower levels of the other schedule."""
        return [self.start, *(level for level in self.of(steps) if level < self.start)]


def bend(sigma: float, shift: float) -> float:
    """A noise level moved towards 1 by a ``shift`` over 1: more steps are spent at high noise."""
    return shift * sigma / (1 + (shift - 1) * sigma)


def even_anchors(count: int) -> tuple[float, ...]:
    """``count`` levels from 1 down, evenly, 0 left out."""
    return tuple((count - index) / count for index in range(count))


def sample_euler(
    velocity: Callable[[Float[Tensor, "b c t h w"], Float[Tensor, "b t"]], Float[Tensor, "b c t h w"]],
    latents: Float[Tensor, "b c t h w"],
    clean: int,
    sigmas: Sequence[float],
    on_step: Callable[[int], None] = lambda done: None,  # noqa: ARG005
) -> Float[Tensor, "b c t h w"]:
    """Latents denoised along ``sigmas``.

    The first ``clean`` frames are given: they keep level 0 and are returned untouched. ``velocity`` is asked with the
    latents and the level of each frame; ``on_step`` hears how many steps are done and may raise to stop.
    """
    given, noisy = latents[:, :, :clean].float(), latents[:, :, clean:].float()
    levels = torch.zeros(latents.shape[0], latents.shape[2], device=latents.device)
    for done, (now, after) in enumerate(pairwise(sigmas), start=1):
        levels[:, clean:] = now
        step = velocity(torch.cat([given, noisy], 2), levels.clone())[:, :, clean:]
        noisy = noisy + (after - now) * step.float()
        on_step(done)
    return torch.cat([given, noisy], 2)


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise ConfigError(f"{steps} denoising steps were asked for", hint="use at least 1")
