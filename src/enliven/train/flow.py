"""Flow matching: the backbone learns the velocity from clean latents to noise (LongCat Eq. 1).

The trainer and the pipeline arrange clips with the same layouts, so what is trained is what runs. The loss falls on
noise frames only; clean frames enter at noise level 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from enliven.types import Conditioning, LatentClip


@dataclass(frozen=True, slots=True)
class NoiseLevels:
    """Which noise levels are trained: ``drawn`` between 0 and 1, bent by ``shift``, and ``pure`` of the samples at 1.

    Poses are decided at high noise, so small models need many samples there. A logit-normal hardly ever draws levels
    near 0 and 1, where the first and last steps of a strongly bent schedule lie: layers that begin new need them.
    """

    drawn: Literal["logit-normal", "uniform"] = "logit-normal"
    shift: float = 3.0
    pure: float = 0.1
    floor: float = 0.4

    def sample(self, count: int) -> Float[Tensor, "count"]:
        """Draw one level for each of ``count`` clips."""
        level = torch.rand(count) if self.drawn == "uniform" else torch.sigmoid(torch.randn(count))
        level = self.shift * level / (1 + (self.shift - 1) * level)
        return torch.where(torch.rand(count) < self.pure, torch.ones(count), level)

    def weight(self, sigma: Float[Tensor, "count"]) -> Float[Tensor, "count"]:
        """Velocity errors weigh as errors of the clean latents do; below ``floor`` ever less."""
        return (sigma / self.floor).clamp(max=1).square()


class FlowObjective:
    """Squared velocity error, heavier where the clip moves: mouths and eyes are small and must not be lost."""

    def __init__(self, backbone: nn.Module, levels: NoiseLevels | None = None, moving_weight: float = 3.0) -> None:
        self.networks: Mapping[str, nn.Module] = {"backbone": backbone}
        self.backbone = backbone
        self.levels = levels or NoiseLevels()
        self.moving_weight = moving_weight

    def losses(self, batch: Mapping[str, Any], step: int) -> dict[str, Tensor]:  # noqa: ARG002
        """``batch``: ``clip`` (a LatentClip whose noise frames hold the truth) and ``cond``."""
        clip: LatentClip = batch["clip"]
        cond: Conditioning = batch["cond"]
        clean, truth = clip.layout.clean, clip.latents
        sigma = self.levels.sample(truth.shape[0]).to(truth.device)
        per_frame = sigma[:, None].repeat(1, truth.shape[2])
        per_frame[:, :clean] = 0
        noise = torch.randn_like(truth)
        mixed = truth.lerp(noise, per_frame[:, None, :, None, None])
        mixed[:, :, :clean] = batch["given"]
        velocity = self.backbone(mixed, per_frame, cond, clip.layout)
        error = (velocity.float() - (noise - truth))[:, :, clean:].square().mean(dim=1)
        weight = self._moving(truth[:, :, clean:]) * self.levels.weight(sigma)[:, None, None, None]
        return {"flow": (weight * error).mean()}

    def _moving(self, truth: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b 1 h w"]:
        """1 where a clip stands still, up to ``1 + moving_weight`` where it moves most, mean 1."""
        travel = truth.std(dim=2, correction=0).mean(dim=1, keepdim=True)
        weight = 1 + self.moving_weight * travel / travel.amax(dim=(2, 3), keepdim=True).clamp(min=0.2)
        return weight / weight.mean(dim=(2, 3), keepdim=True)
