"""A flat world whose guided flow is known, and networks that guess what they are told: to train students with."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from enliven.diffusion.sample import AnchorSchedule, even_anchors
from enliven.diffusion.solvers import Renoise
from enliven.systems.longcat import ReferenceSkip
from enliven.systems.soul import PivotalFrame
from enliven.train.distillation import Told
from enliven.types import AttentionRule, Conditioning, LatentClip, LatentLayout, Role, Text

SPREAD, MODE, SIDE, SCALE = 0.3, 1.0, 0.7, 2.0
FLAT = LatentLayout((Role.NOISE,) * 2, (0.0, 1.0), (AttentionRule(range(2), (range(2),)),))
SIGMAS = AnchorSchedule(even_anchors(4), 1.0)(4)


class Flat(nn.Module):
    """The true flow of a world of points, one in each cell. The text moves x; y is left or right of nothing.

    Guided by ``SCALE``, x stays a Gaussian as wide and moves ``SCALE`` times as far, and y stays what it is: exactly,
    at every noise level.
    """

    def forward(self, latents: Tensor, sigma: Tensor, cond: Conditioning, layout: LatentLayout) -> Tensor:
        level = sigma[:, None, :, None, None]
        signal, side = 1 - level, SIDE * cond.text.tokens[..., None, None]
        variance = signal**2 * SPREAD**2 + level**2
        mean = torch.tanh(signal * MODE * latents[:, 1:] / variance) * MODE
        means = torch.cat([side.expand_as(mean), mean], dim=1)
        clean = means + signal * SPREAD**2 / variance * (latents - signal * means)
        return (latents - clean) / level.clamp(min=1e-3)


class Small(nn.Module):
    """A network of points."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        sizes = (11, width, width, width)
        hidden = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.SiLU())]
        self.layers = nn.Sequential(*hidden, nn.Linear(width, 2))

    def forward(self, latents: Tensor, sigma: Tensor, cond: Conditioning, layout: LatentLayout) -> Tensor:
        angle = sigma[:, :, None, None, None] * torch.arange(1, 5) * 1.5
        side = cond.text.tokens[:, :, None, None].expand(-1, len(layout), -1, -1, -1)
        told = torch.cat([side, angle.sin(), angle.cos()], dim=-1).expand(-1, -1, *latents.shape[3:], -1)
        return self.layers(torch.cat([latents.permute(0, 2, 3, 4, 1), told], dim=-1)).permute(0, 4, 1, 2, 3)


def sides(values: Tensor) -> Conditioning:
    """Texts that say how far to the side."""
    count = len(values)
    return Conditioning(Text(values.view(-1, 1, 1)), Text(torch.zeros(count, 1, 1)), torch.zeros(count, 1, 1, 1, 1, 1))


def drawn(side: Tensor) -> Tensor:
    """Points of the world."""
    shape = (len(side), 1, 2, 2, 2)
    x = side.view(-1, 1, 1, 1, 1) * SIDE + SPREAD * torch.randn(shape)
    return torch.cat([x, MODE * (2.0 * torch.randint(2, shape) - 1) + SPREAD * torch.randn(shape)], dim=1)


def flat_batches(count: int = 64) -> Iterator[Mapping[str, Any]]:
    while True:
        side = 2.0 * torch.randint(2, (count,)) - 1
        empty = torch.zeros(count, 2, 2, 2, 2)
        yield {"clip": LatentClip(empty, FLAT), "given": empty[:, :, :0], "cond": sides(side)}


def pretrained(steps: int = 300) -> Small:
    """A network that has learnt the flow of the world, without guidance."""
    network, flow = Small(), Flat()
    adam = torch.optim.Adam(network.parameters(), 4e-3)
    for _ in range(steps):
        side = torch.randint(3, (64,)) - 1.0
        clean, sigma = drawn(side), torch.rand(64, 1).expand(-1, 2)
        noisy = clean.lerp(torch.randn_like(clean), sigma[:, None, :, None, None])
        said = (network(noisy, sigma, sides(side), FLAT), flow(noisy, sigma, sides(side), FLAT))
        adam.zero_grad()
        nn.functional.mse_loss(*said).backward()
        adam.step()
    return network


@torch.no_grad()
def sampled(network: nn.Module, cond: Conditioning) -> Tensor:
    """Points that a network makes in the student's few steps, without guidance."""
    count = len(cond.text.tokens)
    told = Told(torch.zeros(count, 2, 0, 2, 2), cond, FLAT)
    return Renoise()(
        lambda noisy, sigma: told.velocity(network, noisy, torch.full((count,), sigma), cond),
        torch.randn(count, 2, 2, 2, 2),
        SIGMAS,
        lambda step: torch.randn(count, 2, 2, 2, 2),
        lambda step: None,
    )


LAYOUTS = [
    ReferenceSkip(2, 1)(frames=5, context=2, reference=True),
    PivotalFrame()(frames=4, context=2, reference=True),
    PivotalFrame()(frames=4, context=0, reference=False),
]


class Guess(nn.Module):
    """Sees the same clean latents in everything, others when told nothing; keeps what it was given."""

    def __init__(self, clean: Tensor, unconditional: Tensor | None = None) -> None:
        super().__init__()
        self.clean = nn.Parameter(clean)
        self.unconditional = clean if unconditional is None else unconditional
        self.given: list[tuple[Tensor, Tensor]] = []

    def forward(self, latents: Tensor, sigma: Tensor, cond: Conditioning, layout: LatentLayout) -> Tensor:
        self.given.append((latents.detach(), sigma))
        clean = self.clean if cond.text.tokens.any() else self.unconditional
        return (latents - clean) / sigma.clamp(min=1e-6)[:, None, :, None, None]


def batch_for(layout: LatentLayout) -> dict[str, Any]:
    cond = Conditioning(Text(torch.ones(2, 1, 1)), Text(torch.zeros(2, 1, 1)), torch.ones(2, 1, 1, 1, 1, 1))
    given = 5 + torch.randn(2, 3, layout.clean, 2, 2)
    return {"clip": LatentClip(torch.zeros(2, 3, len(layout), 2, 2), layout), "given": given, "cond": cond}
