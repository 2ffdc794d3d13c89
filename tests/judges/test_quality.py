import pytest
import torch

from enliven.judges.quality import CELL, QualityJudge, scrambling, worst, worst_face
from toon_people import PEOPLE, drawn, talking

STRICT = "the shipped judge takes soft and some drawn frames for scrambled; see benchmarks/2026-11-20-judges.md"


@pytest.fixture(scope="module")
def judge() -> QualityJudge:
    return QualityJudge()


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    return torch.cat([drawn(seed, talking(seed, 4)) for seed in PEOPLE])


@pytest.mark.xfail(strict=True, reason=STRICT)
def test_drawn_frames_are_clean(judge: QualityJudge, frames: torch.Tensor) -> None:
    assert (judge(frames)["clean_face"] > 0.5).float().mean() > 0.95


@pytest.mark.xfail(strict=True, reason=STRICT)
def test_a_soft_frame_is_still_clean(judge: QualityJudge, frames: torch.Tensor) -> None:
    soft = torch.nn.functional.avg_pool2d(frames.float(), 3, stride=1, padding=1, count_include_pad=False)
    assert (judge(soft.round().to(torch.uint8))["clean_face"] > 0.5).float().mean() > 0.8


def test_two_poses_at_once_are_not(judge: QualityJudge, frames: torch.Tensor) -> None:
    ghost = (frames.float() + frames.roll((3, 4), dims=(2, 3)).float()) / 2
    assert (judge(ghost.round().to(torch.uint8))["clean_face"] > 0.5).float().mean() < 0.1


@pytest.mark.xfail(strict=True, reason=STRICT)
def test_a_fault_beside_the_face_spoils_the_frame_alone(judge: QualityJudge, frames: torch.Tensor) -> None:
    torn = frames.clone()
    torn[:, :, 112:, :24] = 255 - torn[:, :, 112:, :24]
    verdict = judge(torn)
    assert (verdict["clean_frame"] < 0.5).float().mean() > 0.9
    assert (verdict["clean_face"] > 0.5).float().mean() > 0.9


def test_scrambling_is_the_distance_of_each_cell() -> None:
    meant = torch.full((1, 3, 128, 128), 0.5)
    shown = meant.clone()
    shown[:, :, 5 * CELL : 6 * CELL, 7 * CELL : 8 * CELL] += 0.5
    shown[:, :, 0:CELL, 0:CELL] += 0.055
    cells = scrambling(shown, meant)
    assert cells[0, 5, 7] == 1
    assert cells[0, 0, 0] == pytest.approx(0.5, abs=1e-3)
    assert (cells > 0).sum() == 2
    assert worst(cells) == 1
    assert worst_face(cells) == 1
    cells[0, 5, 7] = 0
    assert worst_face(cells) == 0
