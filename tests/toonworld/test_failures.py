"""Tests of drawn failures: each spoils what its words say, and nothing else."""

from pathlib import Path

import pytest
import torch

from enliven.models.networks import load_network
from enliven.models.text import clean
from enliven.systems import find_model
from enliven.toonworld.character import sample_character
from enliven.toonworld.draw import draw
from enliven.toonworld.failures import NEGATIVE_PROMPT, Failure, draw_failure
from enliven.toonworld.motion import calm_motion
from enliven.toonworld.state import FaceState

FRAMES, SIZE, PERSON = 24, (64, 64), sample_character(3)
MOUTH = (slice(40, 48), slice(24, 40))  # rows and columns


@pytest.fixture(scope="module")
def state() -> FaceState:
    calm = calm_motion(FRAMES, 25, torch.Generator().manual_seed(0))
    opening = (torch.arange(FRAMES) / 3).sin().abs()
    return calm.with_mouth(opening, 0.5 + 0.3 * opening, 0 * opening, opening, 0 * opening)


@pytest.fixture(scope="module")
def truth(state: FaceState) -> torch.Tensor:
    return draw(PERSON, state, SIZE)


def motion(frames: torch.Tensor) -> float:
    return float(frames.diff(dim=0).abs().mean())


def detail(frames: torch.Tensor) -> float:
    return float(frames.diff(dim=3).abs().mean())


@pytest.mark.parametrize("failure", list(Failure))
def test_every_failure_differs_from_the_truth_and_by_its_seed(
    failure: Failure, state: FaceState, truth: torch.Tensor
) -> None:
    one, same, other = (draw_failure(failure, PERSON, state, SIZE, seed) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert (one - truth).abs().mean() > 1e-3
    assert 0 <= float(one.min()) <= float(one.max()) <= 1


def test_lips_that_are_still_or_wrong_leave_the_rest_as_it_is(state: FaceState, truth: torch.Tensor) -> None:
    for failure in (Failure.STILL_LIPS, Failure.WRONG_LIPS):
        frames = draw_failure(failure, PERSON, state, SIZE, 1)
        torch.testing.assert_close(frames[:, :, :30], truth[:, :, :30])
    still = draw_failure(Failure.STILL_LIPS, PERSON, state, SIZE, 1)
    assert motion(still[:, :, *MOUTH]) < 0.3 * motion(truth[:, :, *MOUTH])


def test_who_says_nothing_babbles(state: FaceState) -> None:
    rest = FaceState.neutral(FRAMES)
    assert motion(draw_failure(Failure.WRONG_LIPS, PERSON, rest, SIZE, 1)) > 0


def test_who_is_stiff_moves_only_the_mouth(state: FaceState) -> None:
    stiff = draw_failure(Failure.STIFF, PERSON, state, SIZE, 1)
    assert motion(stiff[:, :, *MOUTH]) > 0.01
    assert motion(stiff[:, :, :28]) == 0


def test_pictures_lose_light_or_detail_or_shake(state: FaceState, truth: torch.Tensor) -> None:
    def made(failure: Failure) -> torch.Tensor:
        return torch.cat([draw_failure(failure, PERSON, state, SIZE, seed)[-4:] for seed in range(4)])

    assert made(Failure.DIM).mean() < 0.9 * truth.mean()
    assert detail(made(Failure.BLURRED)) < 0.8 * detail(truth)
    assert motion(draw_failure(Failure.SHAKY, PERSON, state, SIZE, 1)) > 2 * motion(truth)


def test_a_stranger_comes_to_the_same_place(state: FaceState, truth: torch.Tensor) -> None:
    frames = draw_failure(Failure.STRANGER, PERSON, state, SIZE, 1)
    corner = (slice(None), slice(None), slice(4), slice(4))
    torch.testing.assert_close(frames[corner], truth[corner])


def test_the_small_text_encoder_reads_the_whole_negative_prompt() -> None:
    text = load_network(Path(find_model("soul-toon").weights) / "text")
    assert len(text.tokenizer.encode(clean(NEGATIVE_PROMPT)).ids) <= text.params.length
