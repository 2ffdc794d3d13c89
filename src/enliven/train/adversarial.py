"""The last phase of an efficient decoder's training, if wanted: its pictures are to look real to a discriminator.

Absolute errors leave fine textures grey where they cannot be known; a discriminator of patches asks for some texture.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from enliven.train.evae import EfficientDecoderObjective

MOST = 1e4  # times that the discriminator's gradient is raised


class PatchDiscriminator(nn.Sequential):
    """Video ``b 3 f height width`` to one number for each patch and frame: above 0 for what looks real."""

    def __init__(self, widths: tuple[int, ...] = (32, 64, 128)) -> None:
        layers: list[nn.Module] = []
        for before, after in zip((3, *widths), widths, strict=False):
            layers.append(nn.Conv3d(before, after, (3, 4, 4), stride=(1, 2, 2), padding=1))
            layers += [nn.GroupNorm(8, after)] if before != 3 else []
            layers.append(nn.LeakyReLU(0.2))
        super().__init__(*layers, nn.Conv3d(widths[-1], 1, 3, padding=1))


class AdversarialObjective:
    """The losses of a decoder and, from step ``begin`` on, in turn with those of a discriminator.

    The discriminator pulls at the pictures ``strength`` times as hard as all that compares them with the truth, however
    large its own gradient is.
    """

    def __init__(
        self, decoder: EfficientDecoderObjective, discriminator: nn.Module, *, strength: float = 0.05, begin: int = 0
    ) -> None:
        self.decoder, self.discriminator = decoder, discriminator
        self.strength, self.begin = strength, begin
        self.networks: Mapping[str, nn.Module] = {**decoder.networks, "discriminator": discriminator}

    def turn(self, step: int) -> list[str]:
        """Decoder and heads until ``begin``; then the discriminator and they take turns."""
        if step >= self.begin and (step - self.begin) % 2 == 0:
            return ["discriminator"]
        return list(self.decoder.networks)

    def losses(self, batch: Mapping[str, Any], step: int) -> dict[str, Float[Tensor, ""]]:
        """Of the one whose turn it is; ``batch`` as the decoder takes it."""
        if "discriminator" in self.turn(step):
            with torch.no_grad():
                _, painted, truth = self.decoder.compared(batch, step)
            return {"discriminator": hinge(self.discriminator(truth), self.discriminator(painted))}
        losses, painted, _ = self.decoder.compared(batch, step)
        if step > self.begin:
            compared = torch.stack([loss for name, loss in losses.items() if name != "features"]).sum()
            fooled = -self.discriminator(painted).float().mean()
            losses["adversarial"] = self.strength * _ratio(compared, fooled, painted) * fooled
        return losses


def hinge(real: Float[Tensor, "*n"], made: Float[Tensor, "*n"]) -> Float[Tensor, ""]:
    """Nothing where what is real is above 1 and what is made below -1."""
    return F.relu(1 - real.float()).mean() + F.relu(1 + made.float()).mean()


def _ratio(one: Float[Tensor, ""], other: Float[Tensor, ""], pictures: Tensor) -> Float[Tensor, ""]:
    """How much harder one loss pulls at the pictures than the other."""
    pulls = [torch.autograd.grad(loss, pictures, retain_graph=True)[0].norm() for loss in (one, other)]
    return (pulls[0] / pulls[1].clamp(min=1e-12)).clamp(max=MOST)
