"""Ways from noise to latents, against diffusers and against what they must arrive at."""

from collections.abc import Callable

import pytest
import torch
from diffusers import UniPCMultistepScheduler
from torch import Tensor

from enliven.diffusion.sample import AnchorSchedule, EvenSchedule
from enliven.diffusion.solvers import Euler, LatentVelocity, Renoise, Solver, UniPC
from golden_files import golden

SHAPE = (1, 3, 4, 2, 2)
EIGHT = tuple(1 - 125 * index / 999 for index in range(8))
STUDENT = AnchorSchedule((1.0, 0.75, 0.5, 0.25), 5.0)


def curved(latents: Tensor, sigma: float) -> Tensor:
    """A velocity that bends with place and level."""
    return torch.tanh(latents * (1 + sigma)) + 0.5 * torch.sin(3 * latents) - sigma**2


def no_noise(step: int) -> Tensor:
    raise AssertionError(f"noise was drawn for step {step}")


def solve(
    solver: Solver, latents: Tensor, sigmas: list[float], velocity: LatentVelocity = curved, noise: object = no_noise
) -> Tensor:
    return solver(velocity, latents, sigmas, noise, lambda done: None)


def published(steps: int) -> UniPCMultistepScheduler:
    scheduler = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0, solver_order=2
    )
    scheduler.set_timesteps(steps)
    return scheduler


def walk(scheduler: UniPCMultistepScheduler, latents: Tensor) -> Tensor:
    for time, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
        latents = scheduler.step(curved(latents, float(sigma)), time, latents).prev_sample
    return latents


@pytest.mark.parametrize("steps", [1, 2, 4, 7, 25, 50])
def test_unipc_is_that_of_diffusers(steps: int) -> None:
    start = torch.randn(SHAPE, generator=torch.Generator().manual_seed(steps))
    ours = solve(UniPC(), start, EvenSchedule(5.0)(steps))
    torch.testing.assert_close(ours, walk(published(steps), start), atol=1e-5, rtol=0)


@pytest.mark.parametrize("steps", [3, 4, 25])
def test_unipc_is_that_of_diffusers_to_the_last_digit(steps: int) -> None:
    start, scheduler = torch.randn(SHAPE, dtype=torch.float64), published(steps)
    scheduler.sigmas = scheduler.sigmas.double()
    ours = solve(UniPC(), start, scheduler.sigmas.tolist())
    torch.testing.assert_close(ours, walk(scheduler, start), atol=1e-11, rtol=0)


def test_euler_follows_the_published_trajectory() -> None:
    case = golden("schedule").case("euler")
    outputs, states = case.inputs["preds"], []

    def velocity(latents: Tensor, sigma: float) -> Tensor:
        states.append(latents)
        return -outputs[len(states) - 1]

    final = solve(Euler(), case.inputs["latents"], AnchorSchedule(EIGHT, case.args["shift"])(8), velocity)
    for seen, expected in zip([*states[1:], final], case.outputs["trajectory"], strict=True):
        torch.testing.assert_close(seen, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("solver", [Euler(), UniPC(), Renoise()])
def test_a_true_velocity_leads_to_the_clean_latents(solver: Solver) -> None:
    clean, start, heard = torch.randn(SHAPE), torch.randn(SHAPE), []

    def true(latents: Tensor, sigma: float) -> Tensor:
        return (latents - clean) / sigma

    end = solver(true, start, EvenSchedule(5.0)(6), lambda step: torch.randn(SHAPE), heard.append)
    torch.testing.assert_close(end, clean, atol=1e-4, rtol=0)
    assert heard == [1, 2, 3, 4, 5, 6]


def test_the_student_goes_back_to_the_levels_it_was_distilled_at() -> None:
    levels = STUDENT(4)
    assert levels == pytest.approx([1.0, 0.9375, 0.8333, 0.625, 0.0], abs=1e-4)
    clean, fresh, seen = torch.randn(SHAPE), [torch.randn(SHAPE) for _ in range(5)], []

    def true(latents: Tensor, sigma: float) -> Tensor:
        seen.append(latents)
        return (latents - clean) / sigma

    draw: Callable[[int], Tensor] = fresh.__getitem__
    solve(Renoise(), fresh[0], levels, true, draw)
    for latents, level, noise in zip(seen, levels, fresh, strict=False):
        torch.testing.assert_close(latents, (1 - level) * clean + level * noise, atol=1e-5, rtol=0)
