"""What a student imitates, and what becomes of it."""

from pathlib import Path

import pytest
import torch

from enliven.diffusion.guidance import Guidance
from enliven.train.distillation import STUDENT, Trajectory
from enliven.train.imitation import ImitationObjective
from enliven.train.trainer import TrainConfig, Trainer
from enliven.types import LatentLayout
from flat_world import (
    LAYOUTS,
    SCALE,
    SIDE,
    SIGMAS,
    Flat,
    Guess,
    batch_for,
    flat_batches,
    pretrained,
    sampled,
    sides,
)


def imitating(layout: LatentLayout) -> ImitationObjective:
    """The student sees 0, its teacher 3, an untold teacher 2; all of it spread a little."""
    torch.manual_seed(0)
    shape = (2, 3, len(layout), 2, 2)
    student, told, untold = (mean + 0.1 * torch.randn(shape) for mean in (0.0, 3.0, 2.0))
    return ImitationObjective(Guess(student), Guess(told, untold), Guidance(3.0, 3.0), Trajectory(SIGMAS))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_error_is_that_to_the_guided_clean_latents(layout: LatentLayout) -> None:
    objective = imitating(layout)
    student, told, untold = objective.student.clean, objective.teacher.clean, objective.teacher.unconditional
    guided = (untold + 3.0 * (told - untold)).detach()
    expected = (student - guided)[:, :, layout.clean :].square().mean()
    for step in range(8):  # whatever step it is
        loss = objective.losses(batch_for(layout), step)["imitation"]
        torch.testing.assert_close(loss, expected, rtol=1e-4, atol=0)
    loss.backward()
    assert objective.teacher.clean.grad is None
    assert (student.grad[:, :, : layout.clean] == 0).all()
    assert (student.grad[:, :, layout.clean :] != 0).all()


def test_student_and_teacher_see_the_students_own_way() -> None:
    layout = LAYOUTS[0]
    objective, batch, levels = imitating(layout), batch_for(layout), set[float]()
    for step in range(30):
        objective.student.given.clear()
        objective.teacher.given.clear()
        objective.losses(batch, step)
        (asked, level), (answered, same) = objective.student.given[-1], objective.teacher.given[-1]
        assert torch.equal(asked, answered)
        assert torch.equal(level, same)
        assert torch.equal(asked[:, :, : layout.clean], batch["given"])
        assert (level[:, : layout.clean] == 0).all()
        sigma = level[0, -1].item()
        levels.add(sigma)
        before = SIGMAS.index(pytest.approx(sigma))
        assert len(objective.student.given) == before + 1
        assert len(objective.teacher.given) == 2, "told and untold, at the end of the way alone"
        if before:
            own = objective.student.clean[:, :, layout.clean :]
            noise = (asked[:, :, layout.clean :] - (1 - sigma) * own) / sigma
            assert noise.mean().abs().item() < 0.5, "the student's own guess, made noisy again"
            assert noise.std().item() == pytest.approx(1, abs=0.3)
    assert sorted(levels) == pytest.approx(sorted(SIGMAS[:-1]))


def test_a_student_takes_in_the_guidance(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, side = pretrained(), 2.0 * (torch.arange(256) % 2) - 1
    before = (sampled(network, sides(side))[:, 0] * side.view(-1, 1, 1, 1)).mean().item()
    objective = ImitationObjective(network, Flat(), Guidance(SCALE, SCALE), Trajectory(SIGMAS))
    config = TrainConfig(tmp_path, steps=200, learning_rate=2e-3, muon="", warmup=0, ema=0.9, dtype="float32")
    trainer = Trainer(config, objective, flat_batches())
    trainer.fit()
    network.load_state_dict(trainer.averaged(STUDENT))
    after = (sampled(network, sides(side))[:, 0] * side.view(-1, 1, 1, 1)).mean().item()
    assert before == pytest.approx(SIDE, abs=0.15)
    assert after == pytest.approx(SIDE * SCALE, abs=0.1)
