import pytest
import torch

from enliven.diffusion.sample import (
    AnchorSchedule,
    DetailSchedule,
    LateSchedule,
    LinearSchedule,
    Schedule,
    even_anchors,
    sample_euler,
)
from enliven.errors import ConfigError
from golden_files import Case, golden

EIGHT = tuple(1 - 125 * index / 999 for index in range(8))


def published(case: Case) -> Schedule:
    """The schedule that a golden case was recorded with."""
    shift = case.args["shift"]
    if not case.args.get("use_distill"):
        return LinearSchedule(shift)
    return AnchorSchedule(EIGHT if case.args["model_type"] == "avatar-v1.5" else even_anchors(50), shift)


def test_schedules_are_the_published_ones() -> None:
    cases = [case for case in golden("schedule").cases if case.kind == "schedule"]
    assert len(cases) == 14
    for case in cases:
        sigmas = torch.tensor(published(case)(case.args["steps"]), dtype=torch.float64)
        torch.testing.assert_close(sigmas, case.outputs["sigmas"].double(), atol=1e-6, rtol=0, msg=case.name)
        timesteps = case.outputs["timesteps"].double()
        torch.testing.assert_close(1000 * sigmas[:-1], timesteps, atol=1e-3, rtol=0, msg=case.name)


def test_detail_and_late_schedules_are_the_published_ones() -> None:
    cases = [case for case in golden("schedule").cases if case.kind == "schedule_hf"]
    assert len(cases) == 4
    for case in cases:
        wrapped = DetailSchedule if case.args["where"] == "avc" else LateSchedule
        sigmas = torch.tensor(wrapped(LinearSchedule(case.args["shift"]))(case.args["steps"]), dtype=torch.float64)
        torch.testing.assert_close(sigmas, case.outputs["sigmas"].double(), atol=1e-6, rtol=0, msg=case.name)


def test_euler_follows_the_published_trajectory() -> None:
    case = golden("schedule").case("euler")
    outputs, trajectory = case.inputs["preds"], case.outputs["trajectory"]
    states = []

    def velocity(latents: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        states.append(latents)
        return -outputs[len(states) - 1]

    final = sample_euler(velocity, case.inputs["latents"], 0, published(case)(8))
    for seen, expected in zip([*states[1:], final], trajectory, strict=True):
        torch.testing.assert_close(seen, expected, atol=1e-5, rtol=0)


def test_euler_arrives_at_the_clean_latents_and_leaves_given_frames_alone() -> None:
    clean, noise = torch.randn(1, 2, 5, 2, 2), torch.randn(1, 2, 5, 2, 2)
    start = torch.cat([clean[:, :, :2], noise[:, :, 2:]], 2)
    levels, steps = [], []

    def velocity(latents: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        levels.append(sigma)
        return noise - clean

    end = sample_euler(velocity, start, 2, LinearSchedule(5.0)(6), steps.append)
    torch.testing.assert_close(end, clean, atol=1e-5, rtol=0)
    assert torch.equal(end[:, :, :2], clean[:, :, :2])
    assert all((level[:, :2] == 0).all() and (level[:, 2:] > 0).all() for level in levels)
    assert steps == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "schedule", [LinearSchedule(3.0), AnchorSchedule(EIGHT, 3.0), DetailSchedule(LinearSchedule(3.0))]
)
def test_levels_fall_from_one_to_zero(schedule: Schedule) -> None:
    for steps in range(1, 9):
        sigmas = schedule(steps)
        assert sigmas[0] == 1
        assert sigmas[-1] == 0
        assert sigmas == sorted(set(sigmas), reverse=True)


def test_impossible_step_counts_are_refused() -> None:
    with pytest.raises(ConfigError, match="0 denoising steps"):
        LinearSchedule(3.0)(0)
    with pytest.raises(ConfigError, match="knows 8 noise levels"):
        AnchorSchedule(EIGHT, 7.0)(9)
