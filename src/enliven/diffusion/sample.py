"""Noise levels: from what a denoising run comes down, and in which steps."""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

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
class EvenSchedule:
    """Levels evenly from 1 towards 0.001, which is left out, bent towards noise by ``shift``: what Wan samples with."""

    shift: float

    def __call__(self, steps: int) -> list[float]:
        """``steps`` levels and 0."""
        _check_steps(steps)
        return [*(bend(1 - 0.999 * index / steps, self.shift) for index in range(steps)), 0.0]


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


def _check_steps(steps: int) -> None:
    if steps < 1:
        raise ConfigError(f"{steps} denoising steps were asked for", hint="use at least 1")
