"""From noise to latents along falling noise levels: one strategy for each way to take the steps.

A latent at noise level ``s`` is ``(1 - s) * clean + s * noise``, and a velocity is ``noise - clean``.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

LatentVelocity = Callable[[Float[Tensor, "b c t h w"], float], Float[Tensor, "b c t h w"]]
DrawNoise = Callable[[int], Float[Tensor, "b c t h w"]]


@runtime_checkable
class Solver(Protocol):
    """Denoises latents. All that it remembers from step to step is about these latents: given frames stay outside."""

    def __call__(
        self,
        velocity: LatentVelocity,
        latents: Float[Tensor, "b c t h w"],
        sigmas: Sequence[float],
        noise: DrawNoise,
        on_step: Callable[[int], None],
    ) -> Float[Tensor, "b c t h w"]:
        """Latents at the last of the ``sigmas``, from ``latents`` at the first.

        ``velocity`` runs the backbone on latents at a noise level; ``noise`` draws fresh noise for a step, counted from
        1; ``on_step`` hears how many steps are done and may raise to stop.
        """
        ...


@dataclass(frozen=True, slots=True)
class Euler:
    """Straight along the velocity, step by step."""

    def __call__(
        self,
        velocity: LatentVelocity,
        latents: Float[Tensor, "b c t h w"],
        sigmas: Sequence[float],
        noise: DrawNoise,  # noqa: ARG002
        on_step: Callable[[int], None],
    ) -> Float[Tensor, "b c t h w"]:
        """One velocity a step."""
        for done, (now, after) in enumerate(pairwise(sigmas), start=1):
            latents = latents + (after - now) * velocity(latents, now)
            on_step(done)
        return latents


@dataclass(frozen=True, slots=True)
class Renoise:
    """The way of few-step students (Soul 3.3): all the way to clean latents, then back to the next noise level."""

    def __call__(
        self,
        velocity: LatentVelocity,
        latents: Float[Tensor, "b c t h w"],
        sigmas: Sequence[float],
        noise: DrawNoise,
        on_step: Callable[[int], None],
    ) -> Float[Tensor, "b c t h w"]:
        """One velocity a step, and fresh noise between steps."""
        for done, (now, after) in enumerate(pairwise(sigmas), start=1):
            clean = latents - now * velocity(latents, now)
            latents = (1 - after) * clean + after * noise(done).to(clean) if after else clean
            on_step(done)
        return latents


@dataclass(frozen=True, slots=True)
class UniPC:
    """UniPC of second order in its B2 form (arXiv 2302.04867), on estimates of the clean latents.

    Each step is predicted from the last two estimates. The estimate made where it leads to then corrects it, at no
    further cost. The first and the last step are of first order.
    """

    def __call__(
        self,
        velocity: LatentVelocity,
        latents: Float[Tensor, "b c t h w"],
        sigmas: Sequence[float],
        noise: DrawNoise,  # noqa: ARG002
        on_step: Callable[[int], None],
    ) -> Float[Tensor, "b c t h w"]:
        """One velocity a step."""
        levels = [min(sigma, NEAR_NOISE) for sigma in sigmas]
        last: UniPCStep | None = None
        for done, (now, after) in enumerate(pairwise(levels), start=1):
            clean = latents - now * velocity(latents, now)
            if last is not None:
                latents = last.corrected(clean)
            last = UniPCStep(now, after, latents, clean, last if done < len(levels) - 1 else None)
            latents = last.predicted()
            on_step(done)
        return latents


NEAR_NOISE = 1 - 1e-6  # at pure noise, the logarithm below would have no value


def log_signal(sigma: float) -> float:
    """The logarithm of the signal-to-noise ratio of a noise level, along which UniPC measures its way."""
    return math.log((1 - sigma) / sigma) if sigma else math.inf


class UniPCStep:
    """A step from level ``now`` to ``after``, with ``latents`` and ``clean``, their estimate, at its start.

    Of the step ``before``, if there is one, the estimate gives a second order.
    """

    def __init__(
        self, now: float, after: float, latents: Tensor, clean: Tensor, before: "UniPCStep | None" = None
    ) -> None:
        self.now, self.clean = now, clean
        self.way = log_signal(after) - log_signal(now)
        self.gain = (1 - after) * -math.expm1(-self.way)
        self.straight = after / now * latents + self.gain * clean
        self.ratio, self.slope = 0.0, None
        if before is not None:
            self.ratio = (log_signal(before.now) - log_signal(now)) / self.way
            self.slope = (before.clean - clean) / self.ratio

    def predicted(self) -> Float[Tensor, "b c t h w"]:
        """Latents at its end."""
        return self.straight if self.slope is None else self.straight + self.gain * 0.5 * self.slope

    def corrected(self, clean: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b c t h w"]:
        """Latents at its end, now that the estimate there is known to be ``clean``."""
        change = clean - self.clean
        if self.slope is None:
            return self.straight + self.gain * 0.5 * change
        grown = math.expm1(-self.way)
        first = -1 / self.way - 1 / grown  # the two conditions of order that the weights must meet
        second = -2 / self.way * first - 1 / grown
        weight = (second - first) / (self.ratio - 1)
        return self.straight + self.gain * (weight * self.slope + (first - weight) * change)
