import pytest
import torch
from diffusers import UniPCMultistepScheduler

from enliven.diffusion.sample import (
    AnchorSchedule,
    DetailSchedule,
    EvenSchedule,
    LateSchedule,
    LinearSchedule,
    Schedule,
    even_anchors,
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


@pytest.mark.parametrize("steps", [1, 4, 25])
def test_even_levels_are_those_of_wan(steps: int) -> None:
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0)
    scheduler.set_timesteps(steps)
    torch.testing.assert_close(torch.tensor(EvenSchedule(5.0)(steps)), scheduler.sigmas, atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    "schedule",
    [LinearSchedule(3.0), EvenSchedule(3.0), AnchorSchedule(EIGHT, 3.0), DetailSchedule(LinearSchedule(3.0))],
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
