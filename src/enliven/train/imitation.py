"""A student's first lesson: to say without guidance what its guided teacher says.

Matching distributions (``enliven.train.distillation``) is slow and shaky where student and teacher are far apart. A
student that has taken in the guidance is near: its few steps, guided, are what it begins with.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from enliven.diffusion.guidance import Guide
from enliven.train.distillation import STUDENT, Told, Trajectory, unlearnt
from enliven.types import LatentClip


class ImitationObjective:
    """Squared distance from the student's clean latents to the guided teacher's, at the student's own noise levels.

    Both see what the student itself made of the steps before: it learns to go on from its own errors. The teacher is
    frozen here.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, guide: Guide, trajectory: Trajectory) -> None:
        self.networks: Mapping[str, nn.Module] = {STUDENT: student}
        self.student, self.guide, self.trajectory = student, guide, trajectory
        self.teacher = teacher.requires_grad_(requires_grad=False)
        self.frozen: Mapping[str, nn.Module] = {"teacher": teacher}

    def losses(self, batch: Mapping[str, Any], step: int) -> dict[str, Tensor]:
        """``batch`` as in ``DistillationObjective``."""
        clip: LatentClip = batch["clip"]
        told = Told(batch["given"], batch["cond"], clip.layout)
        noise = torch.randn_like(clip.latents[:, :, clip.layout.clean :])
        stop = self.trajectory.draw(step)
        noisy = self.trajectory.arrive(self.student, told, noise, stop)
        sigma = noisy.new_full((len(noisy),), self.trajectory.sigmas[stop])
        with unlearnt(noise.device.type):
            guided = self.guide(lambda cond: told.velocity(self.teacher, noisy, sigma, cond), told.cond)
        error = told.velocity(self.student, noisy, sigma, told.cond) - guided
        return {"imitation": (self.trajectory.sigmas[stop] * error).square().mean()}
