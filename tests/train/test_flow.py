"""Tests of flow matching: the truth costs nothing, given frames are left alone, noise levels are as said."""

import pytest
import torch
from torch import Tensor, nn

from enliven.systems.longcat import ReferenceSkip
from enliven.train.flow import FlowObjective, NoiseLevels
from enliven.types import AttentionRule, Conditioning, LatentClip, LatentLayout, Role, Text

LAYOUT = ReferenceSkip(2, 1)(frames=5, context=2, reference=True)
CLEAN = 3


class Oracle(nn.Module):
    """Knows the truth, and says the velocity that leads to it, wrong by ``error`` per frame."""

    def __init__(self, truth: Tensor, layout: LatentLayout = LAYOUT) -> None:
        super().__init__()
        self.truth, self.layout = truth, layout
        self.error = nn.Parameter(torch.zeros(truth.shape))
        self.seen: tuple[Tensor, Tensor] | None = None

    def forward(self, latents: Tensor, sigma: Tensor, cond: Conditioning, layout: LatentLayout) -> Tensor:
        assert layout is self.layout
        self.seen = latents, sigma
        level = sigma[:, None, :, None, None].clamp(min=1e-3)
        return (latents - self.truth) / level + self.error


@pytest.fixture
def truth() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(3, 2, len(LAYOUT), 4, 4)


def batch(truth: Tensor) -> dict[str, object]:
    text = Text(torch.zeros(3, 1, 2))
    cond = Conditioning(text, text, torch.zeros(3, 1, 5, 1, 1, 2))
    return {"clip": LatentClip(truth, LAYOUT), "given": truth[:, :, :CLEAN] + 0.1, "cond": cond}


def test_the_true_velocity_costs_nothing(truth: Tensor) -> None:
    loss = FlowObjective(Oracle(truth)).losses(batch(truth), 0)["flow"]
    assert loss.item() == pytest.approx(0, abs=1e-8)


def test_any_other_velocity_costs(truth: Tensor) -> None:
    oracle = Oracle(truth)
    objective = FlowObjective(oracle, NoiseLevels(pure=1.0))
    with torch.no_grad():
        oracle.error[:, :, CLEAN:] = 0.5
    assert objective.losses(batch(truth), 0)["flow"].item() == pytest.approx(0.25, rel=1e-4)


def test_the_backbone_sees_what_is_given_at_level_zero(truth: Tensor) -> None:
    oracle = Oracle(truth)
    told = batch(truth)
    FlowObjective(oracle).losses(told, 0)
    assert oracle.seen is not None
    latents, sigma = oracle.seen
    assert torch.equal(latents[:, :, :CLEAN], told["given"])
    assert (sigma[:, :CLEAN] == 0).all()
    assert (sigma[:, CLEAN:] == sigma[:, -1:]).all()
    assert (sigma[:, -1] > 0).all()


def test_gradients_never_reach_clean_frames(truth: Tensor) -> None:
    oracle = Oracle(truth)
    with torch.no_grad():
        oracle.error += 1
    FlowObjective(oracle).losses(batch(truth), 0)["flow"].backward()
    assert oracle.error.grad is not None
    reached = oracle.error.grad.abs().amax(dim=(0, 1, 3, 4)) > 0
    assert reached.tolist() == [False] * CLEAN + [True] * (len(LAYOUT) - CLEAN)


def test_errors_weigh_more_where_the_clip_moves(truth: Tensor) -> None:
    still = truth[:, :, :1].expand_as(truth).clone()
    still[..., 0, 0] = truth[..., 0, 0] * 3
    oracle = Oracle(still)
    with torch.no_grad():
        oracle.error += 1
    FlowObjective(oracle, moving_weight=3.0).losses(batch(still), 0)["flow"].backward()
    assert oracle.error.grad is not None
    cells = oracle.error.grad[0, 0, -1]
    torch.testing.assert_close(cells[0, 0] / cells[1:, 1:], torch.full((3, 3), 4.0))


def test_a_single_picture_weighs_the_same_everywhere(truth: Tensor) -> None:
    layout, still = LatentLayout((Role.NOISE,), (0.0,), (AttentionRule(range(1), (range(1),)),)), truth[:, :, :1]
    oracle = Oracle(still, layout)
    with torch.no_grad():
        oracle.error += 1
    told = {**batch(still), "clip": LatentClip(still, layout), "given": still[:, :, :0]}
    FlowObjective(oracle, moving_weight=3.0).losses(told, 0)["flow"].backward()
    assert oracle.error.grad is not None
    cells = oracle.error.grad[0, 0, 0]
    torch.testing.assert_close(cells, cells[:1, :1].expand_as(cells))
    assert cells[0, 0] != 0


def test_low_noise_weighs_as_the_square_below_the_floor() -> None:
    weight = NoiseLevels(floor=0.4).weight(torch.tensor([0.0, 0.1, 0.2, 0.4, 0.7, 1.0]))
    assert weight.tolist() == pytest.approx([0, 1 / 16, 1 / 4, 1, 1, 1])


def test_noise_levels_are_distributed_as_said() -> None:
    """Kolmogorov-Smirnov against P(level <= x) = Phi(logit(x) - ln shift), and a share of pure noise."""
    torch.manual_seed(0)
    count = 20_000
    levels = NoiseLevels(shift=3.0, pure=0.1).sample(count)
    pure = levels == 1
    assert pure.float().mean().item() == pytest.approx(0.1, abs=4 * (0.09 / count) ** 0.5)
    rest = levels[~pure].double().sort().values
    expected = torch.special.ndtr(torch.logit(rest) - torch.tensor(3.0).log())
    measured = (torch.arange(len(rest)) + 0.5) / len(rest)
    assert (expected - measured).abs().max() < 1.63 / len(rest) ** 0.5


def test_uniform_levels_are_bent_as_the_sampler_bends_them() -> None:
    """Kolmogorov-Smirnov against P(level <= x) = x / (shift - (shift - 1) x)."""
    torch.manual_seed(0)
    levels = NoiseLevels("uniform", shift=5.0, pure=0.0).sample(20_000).double().sort().values
    measured = (torch.arange(len(levels)) + 0.5) / len(levels)
    assert (levels / (5 - 4 * levels) - measured).abs().max() < 1.63 / len(levels) ** 0.5
