"""Distillation on a flat world whose guided distribution is known, and on small backbones."""

import copy
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from enliven.diffusion.guidance import Guidance
from enliven.diffusion.solvers import Renoise
from enliven.models.networks import NetworkParams
from enliven.train.distillation import (
    CRITIC,
    STUDENT,
    DistillationObjective,
    Told,
    Trajectory,
    matching_direction,
)
from enliven.train.lora import WithLora
from enliven.train.trainer import TrainConfig, Trainer
from enliven.types import Conditioning, LatentClip, LatentLayout, Text
from flat_world import (
    FLAT,
    LAYOUTS,
    SCALE,
    SIDE,
    SIGMAS,
    Flat,
    Guess,
    Small,
    batch_for,
    drawn,
    flat_batches,
    pretrained,
    sampled,
    sides,
)
from tiny import PARAMS, SOUL_PARAMS, tiny_networks


def energy_distance(one: Tensor, other: Tensor) -> float:
    a, b = (points.permute(0, 2, 3, 4, 1).flatten(0, 3) for points in (one, other))
    return (2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean()).item()


def test_the_student_makes_in_four_steps_what_guidance_makes_in_many(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, side = pretrained(), 2.0 * (torch.arange(256) % 2) - 1
    guided = drawn(side * SCALE)
    before = energy_distance(guided, sampled(network, sides(side)))
    networks = {STUDENT: network, CRITIC: copy.deepcopy(network)}
    objective = DistillationObjective(networks, Flat(), Guidance(SCALE, SCALE), Trajectory(SIGMAS), ratio=3)
    config = TrainConfig(
        tmp_path,
        steps=600,
        learning_rates={STUDENT: 1.5e-3, CRITIC: 4e-3},
        muon="",
        warmup=0,
        decay=0.6,
        ema=0.95,
        dtype="float32",
    )
    trainer = Trainer(config, objective, flat_batches())
    trainer.fit()
    network.load_state_dict(trainer.averaged(STUDENT))
    made = sampled(network, sides(side))
    assert before > 0.2
    assert energy_distance(guided, made) < 0.02, "true points are 0.002 apart"
    for sign in (-1, 1):
        assert made[side == sign, 0].mean().item() == pytest.approx(sign * SIDE * SCALE, abs=0.12)
    assert (made[:, 1] > 0).float().mean().item() == pytest.approx(0.5, abs=0.1)


def guessing(layout: LatentLayout, scale: float = 3.0, sigmas: tuple[float, ...] = (1.0, 0.0)) -> DistillationObjective:
    """Student, critic and teacher see 0, 1 and 3, an untold teacher 2; all of it spread a little."""
    torch.manual_seed(0)
    shape = (2, 3, len(layout), 2, 2)
    student, critic, told, untold = (mean + 0.1 * torch.randn(shape) for mean in (0.0, 1.0, 3.0, 2.0))
    networks = {STUDENT: Guess(student), CRITIC: Guess(critic)}
    teacher = Guess(told, untold)
    return DistillationObjective(networks, teacher, Guidance(scale, scale), Trajectory(sigmas), ratio=1)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_gradient_is_that_of_dmd_towards_the_guided_teacher(layout: LatentLayout) -> None:
    objective = guessing(layout)
    objective.losses(batch_for(layout), 1)["matching"].backward()
    made, fake, told = (guess.clean.detach()[:, :, layout.clean :] for guess in guesses(objective))
    untold = objective.teacher.unconditional[:, :, layout.clean :]
    real = untold + 3.0 * (told - untold)
    expected = torch.stack([(f - r) / (m - r).abs().mean() for m, f, r in zip(made, fake, real, strict=True)])
    gradient = objective.student.clean.grad
    torch.testing.assert_close(gradient[:, :, layout.clean :], expected / expected.numel(), rtol=1e-3, atol=1e-6)
    assert (gradient[:, :, : layout.clean] == 0).all()
    assert objective.critic.clean.grad is None
    assert objective.teacher.clean.grad is None


def guesses(objective: DistillationObjective) -> list[Any]:
    return [objective.student, objective.critic, objective.teacher]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("step", [0, 1])
def test_clean_frames_enter_as_they_are_and_bear_no_loss(layout: LatentLayout, step: int) -> None:
    objective, batch = guessing(layout, sigmas=SIGMAS), batch_for(layout)
    sum(objective.losses(batch, step).values()).backward()
    seen = [each for guess in guesses(objective) for each in guess.given]
    assert len(seen) > 1
    for latents, sigma in seen:
        assert torch.equal(latents[:, :, : layout.clean], batch["given"])
        assert (sigma[:, : layout.clean] == 0).all()
        assert (sigma[:, layout.clean :] == sigma[:, -1:]).all()
        assert (sigma[:, -1] > 0).all()
    learner = objective.student if step else objective.critic
    assert (learner.clean.grad[:, :, : layout.clean] == 0).all()
    assert (learner.clean.grad[:, :, layout.clean :] != 0).any()


def test_a_student_that_agrees_with_its_teacher_stays() -> None:
    made = torch.randn(2, 3, 4, 2, 2)
    assert (matching_direction(made, made, made) == 0).all()
    assert (matching_direction(made, made + 1, made + 1) == 0).all()


def test_the_critic_comes_as_often_as_said_and_the_student_after_it() -> None:
    objective = guessing(LAYOUTS[0])
    objective.ratio = 3
    assert [*map(list, map(objective.turn, range(8)))] == [*[[CRITIC]] * 3, [STUDENT], *[[CRITIC]] * 3, [STUDENT]]


def test_the_last_step_of_training_is_the_last_step_of_sampling() -> None:
    layout, network = FLAT, Small()
    told = Told(torch.zeros(3, 2, 0, 2, 2), sides(torch.tensor([-1.0, 0.0, 1.0])), layout)
    noise = torch.randn(3, 2, 2, 2, 2)
    torch.manual_seed(5)
    trained = Trajectory(SIGMAS).make(network, told, noise, 3)
    torch.manual_seed(5)
    asked = Renoise()(
        lambda noisy, sigma: told.velocity(network, noisy, torch.full((3,), sigma), told.cond),
        noise,
        SIGMAS,
        lambda step: torch.randn_like(noise),
        lambda step: None,
    )
    torch.testing.assert_close(trained, asked)


def test_each_step_is_looked_at_between_its_level_and_the_next() -> None:
    for step, (high, low) in enumerate(pairwise(SIGMAS)):
        made = torch.randn(500, 1, 1, 1, 1)
        noisy, noise, sigma = Trajectory(SIGMAS).renoise(made, step)
        level = sigma[:, None, None, None, None]
        torch.testing.assert_close(noisy, (1 - level) * made + level * noise)
        assert low <= sigma.min() < low + 0.05
        assert high - 0.05 < sigma.max() <= high


BACKBONES = [(PARAMS, LAYOUTS[0]), (SOUL_PARAMS, LAYOUTS[1])]


def backbone_batch(layout: LatentLayout) -> dict[str, Any]:
    """Noise for the small backbone of a layout: 17 or 16 video frames are heard, in 2 or 3 layers."""
    torch.manual_seed(0)
    text, null = (Text(torch.randn(2, 5, 16)) for _ in range(2))
    frames, window, layers = (17, 5, 2) if layout is LAYOUTS[0] else (16, 10, 3)
    cond = Conditioning(text, null, torch.randn(2, 1, frames, window, layers, 16))
    latents = torch.randn(2, 4, len(layout), 4, 4)
    return {"clip": LatentClip(latents, layout), "given": latents[:, :, : layout.clean], "cond": cond}


@pytest.mark.parametrize(("params", "layout"), BACKBONES)
def test_every_weight_of_a_backbone_learns_in_bfloat16(params: NetworkParams, layout: LatentLayout) -> None:
    """Steps without gradients come before; what autocast keeps of them must not stay."""
    teacher, student, critic = (tiny_networks(seed, params).backbone for seed in (0, 0, 1))
    for network in (student, critic):
        network.requires_grad_(requires_grad=True)
    networks = {STUDENT: student, CRITIC: critic}
    objective = DistillationObjective(networks, teacher, Guidance(2.0, 2.0), Trajectory(SIGMAS), ratio=1)
    for step, learner, other in ((0, critic, student), (1, student, critic)):
        torch.manual_seed(2)
        with torch.autocast("cpu", torch.bfloat16):
            losses = objective.losses(backbone_batch(layout), step)
        sum(losses.values()).backward()
        moved = [name for name, value in learner.named_parameters() if value.grad is not None and value.grad.any()]
        assert len(moved) > 0.9 * len(list(learner.parameters()))
        assert all(value.grad is None for network in (other, teacher) for value in network.parameters())
        learner.zero_grad()


@pytest.mark.parametrize(("params", "layout"), BACKBONES)
def test_loras_learn_beside_one_frozen_network(params: NetworkParams, layout: LatentLayout, tmp_path: Path) -> None:
    teacher = tiny_networks(0, params).backbone
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    networks = {STUDENT: WithLora(teacher, 2), CRITIC: WithLora(teacher, 3)}
    objective = DistillationObjective(networks, teacher, Guidance(2.0, 2.0), Trajectory(SIGMAS), ratio=1)
    config = TrainConfig(tmp_path, steps=4, muon="", warmup=0, learning_rate=0.05)
    Trainer(config, objective, iter(lambda: backbone_batch(layout), None)).fit()
    assert set(before) == set(teacher.state_dict())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert all(adapter.up.abs().max() > 0 for network in networks.values() for adapter in network.adapters)


@pytest.mark.parametrize(("params", "layout"), BACKBONES)
def test_blocks_that_are_computed_again_teach_loras_the_same(
    params: NetworkParams, layout: LatentLayout, tmp_path: Path
) -> None:
    learnt = []
    for recompute in (False, True):
        torch.manual_seed(0)
        teacher = tiny_networks(0, params).backbone
        networks = {STUDENT: WithLora(teacher, 2), CRITIC: WithLora(teacher, 3)}
        objective = DistillationObjective(networks, teacher, Guidance(2.0, 2.0), Trajectory(SIGMAS), ratio=1)
        config = TrainConfig(tmp_path / str(recompute), warmup=0, learning_rate=0.05, recompute=recompute)
        trainer = Trainer(config, objective, iter(lambda: backbone_batch(layout), None))
        learnt.append([*(trainer.take_step() for _ in range(4)), trainer.averaged(STUDENT), trainer.averaged(CRITIC)])
    for one, other in zip(*learnt, strict=True):
        torch.testing.assert_close(one, other)


def test_every_step_of_the_student_is_drawn_as_often_whatever_a_process_draws_else() -> None:
    trajectory = Trajectory(SIGMAS)
    drawn = []
    for step in range(2000):
        torch.manual_seed(step % 7)
        drawn.append(trajectory.draw(step))
        assert trajectory.draw(step) == drawn[-1]
    counts = torch.bincount(torch.tensor(drawn))
    assert len(counts) == len(SIGMAS) - 1
    assert ((counts / 2000 * len(counts) - 1).abs() < 0.15).all()
