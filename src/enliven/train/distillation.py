"""Distillation of steps and guidance (Soul 3.3): DMD2 (arXiv 2405.14867) without its GAN.

A student that takes few steps is led to where its guided teacher ends in many. What it makes is made noisy again, and
two guesses of the clean latents are compared: that of the teacher, guided, and that of a critic, who has learnt the
flow of what the student makes. Where both agree, the student makes what the teacher would. Of the data only conditions
and clean frames are used; clean frames enter every network as they are given, at noise level 0, without a loss.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from enliven.diffusion.guidance import Guide
from enliven.diffusion.solvers import Renoise, Solver
from enliven.train.flow import NoiseLevels
from enliven.types import Conditioning, LatentClip, LatentLayout

STUDENT, CRITIC = "student", "critic"
LOWEST, HIGHEST = 0.02, 0.98  # noise levels at which guesses still say something
DRAWN = 1723  # which steps are drawn
FLOOR = 0.2  # below this level the critic's errors count ever less: else the cleanest samples would count alone


@dataclass(frozen=True, slots=True)
class Told:
    """What a network is told about a batch of clips, besides noise frames."""

    given: Float[Tensor, "b c clean h w"]
    cond: Conditioning
    layout: LatentLayout

    def velocity(
        self, backbone: nn.Module, noisy: Float[Tensor, "b c t h w"], sigma: Float[Tensor, "b"], cond: Conditioning
    ) -> Float[Tensor, "b c t h w"]:
        """The velocity of noise frames, one noise level a clip; ``cond`` may be less than all that is known."""
        levels = sigma[:, None].repeat(1, len(self.layout))
        levels[:, : self.layout.clean] = 0
        whole = torch.cat([self.given, noisy], dim=2)
        return backbone(whole, levels, cond, self.layout)[:, :, self.layout.clean :].float()


@dataclass(frozen=True, slots=True)
class Trajectory:
    """How the student gets from noise to clean latents: ``sigmas`` fall from 1 and end with 0."""

    sigmas: Sequence[float]
    solver: Solver = field(default_factory=Renoise)

    def draw(self, step: int) -> int:
        """One of the student's steps, for a ``step`` of training.

        It is the same in all processes: those that share a network must run it equally often.
        """
        chance = torch.Generator().manual_seed(hash((DRAWN, step)))
        return int(torch.randint(len(self.sigmas) - 1, (), generator=chance))

    def make(
        self, student: nn.Module, told: Told, noise: Float[Tensor, "b c t h w"], step: int
    ) -> Float[Tensor, "b c t h w"]:
        """The clean latents that the student sees at a ``step`` of its own way (backward simulation).

        Gradients reach that step alone.
        """
        arrived = self.arrive(student, told, noise, step)
        sigma = arrived.new_full((len(arrived),), self.sigmas[step])
        return arrived - self.sigmas[step] * told.velocity(student, arrived, sigma, told.cond)

    def arrive(
        self, student: nn.Module, told: Told, noise: Float[Tensor, "b c t h w"], step: int
    ) -> Float[Tensor, "b c t h w"]:
        """What the student begins a ``step`` with, on its own way there. No gradients."""

        def velocity(noisy: Tensor, sigma: float) -> Tensor:
            return told.velocity(student, noisy, noisy.new_full((len(noisy),), sigma), told.cond)

        with unlearnt(noise.device.type):
            before = self.sigmas[: step + 1]
            return self.solver(velocity, noise, before, lambda _: torch.randn_like(noise), lambda _: None)

    def renoise(
        self, made: Float[Tensor, "b c t h w"], step: int
    ) -> tuple[Float[Tensor, "b c t h w"], Float[Tensor, "b c t h w"], Float[Tensor, "b"]]:
        """What was made at a ``step`` with noise on it again; that noise, and its level for each clip.

        The levels lie between that of the step and that of the next, so a critic knows by the level which step it is
        looking at. Were they the same for all steps, only the mixture of what all steps make would be matched.
        """
        low, high = max(self.sigmas[step + 1], LOWEST), min(self.sigmas[step], HIGHEST)
        sigma = low + (high - low) * torch.rand(len(made), device=made.device)
        noise = torch.randn_like(made)
        return made.lerp(noise, sigma[:, None, None, None, None]), noise, sigma


class DistillationObjective:
    """Losses of student and critic, in turn: ``ratio`` steps of the critic for one of the student (two time scales).

    The ``networks`` student and critic and their teacher promise what a ``Backbone`` does, and may share weights that
    are not learnt. The teacher is frozen here. What ``guide`` makes of it the student learns to do without guidance.
    """

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        teacher: nn.Module,
        guide: Guide,
        trajectory: Trajectory,
        ratio: int = 5,
    ) -> None:
        self.networks = networks
        self.student, self.critic = networks[STUDENT], networks[CRITIC]
        self.teacher = teacher.requires_grad_(requires_grad=False)
        self.frozen: Mapping[str, nn.Module] = {"teacher": teacher}
        self.guide, self.trajectory, self.ratio = guide, trajectory, ratio
        self.weigh = NoiseLevels(floor=FLOOR).weight

    def turn(self, step: int) -> Collection[str]:
        """Who learns in this step: the critic first, the student last."""
        return {CRITIC} if (step + 1) % (self.ratio + 1) else {STUDENT}

    def losses(self, batch: Mapping[str, Any], step: int) -> dict[str, Tensor]:
        """``batch``: ``clip`` (a LatentClip, of which layout and size count), ``given`` clean frames and ``cond``."""
        clip: LatentClip = batch["clip"]
        told = Told(batch["given"], batch["cond"], clip.layout)
        noise = torch.randn_like(clip.latents[:, :, clip.layout.clean :])
        stop = self.trajectory.draw(step)
        if STUDENT in self.turn(step):
            return {"matching": self._matching(told, self.trajectory.make(self.student, told, noise, stop), stop)}
        with unlearnt(noise.device.type):
            made = self.trajectory.make(self.student, told, noise, stop)
        return {"flow": self._flow(told, made, stop)}

    def _matching(self, told: Told, made: Float[Tensor, "b c t h w"], step: int) -> Float[Tensor, ""]:
        """A loss whose gradient for what was made is the direction in which teacher and critic disagree."""
        with unlearnt(made.device.type):
            noisy, _, sigma = self.trajectory.renoise(made, step)
            level = sigma[:, None, None, None, None]
            guided = self.guide(lambda cond: told.velocity(self.teacher, noisy, sigma, cond), told.cond)
            fake = told.velocity(self.critic, noisy, sigma, told.cond)
            away = matching_direction(made, noisy - level * guided, noisy - level * fake)
            target = made.double() - away.double()
        return 0.5 * (made.double() - target).square().mean()

    def _flow(self, told: Told, made: Float[Tensor, "b c t h w"], step: int) -> Float[Tensor, ""]:
        """The critic's error about the velocity of what was made."""
        noisy, noise, sigma = self.trajectory.renoise(made, step)
        error = told.velocity(self.critic, noisy, sigma, told.cond) - (noise - made)
        return (self.weigh(sigma) * error.square().mean(dim=(1, 2, 3, 4))).mean()


def matching_direction(
    made: Float[Tensor, "b c t h w"], real: Float[Tensor, "b c t h w"], fake: Float[Tensor, "b c t h w"]
) -> Float[Tensor, "b c t h w"]:
    """From what the teacher guesses (``real``) to what the critic guesses (``fake``): DMD's gradient for ``made``.

    It is divided, clip by clip, by how far ``made`` is from ``real`` on average (DMD, arXiv 2311.18828, Eq. 8).
    """
    far = (made - real).abs().mean(dim=(1, 2, 3, 4), keepdim=True)
    return torch.nan_to_num((fake - real) / far, nan=0.0, posinf=0.0, neginf=0.0)


@contextmanager
def unlearnt(device: str) -> Iterator[None]:
    """Without gradients, and without the copies of weights that autocast keeps: later ones would have none either."""
    enabled, dtype = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
    with torch.no_grad(), torch.autocast(device, dtype, enabled=enabled, cache_enabled=False):
        yield
