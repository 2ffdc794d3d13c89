import pytest
import torch

from enliven.judges.quality import CELL, UNDECIDED, QualityJudge, damage, distance, scrambling, truth
from toon_people import PEOPLE, drawn, talking


@pytest.fixture(scope="module")
def judge() -> QualityJudge:
    return QualityJudge()


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    return torch.cat([drawn(seed, talking(seed, 4)) for seed in PEOPLE])


def test_drawn_frames_are_clean(judge: QualityJudge, frames: torch.Tensor) -> None:
    assert (judge(frames)["clean_face"] > 0.5).float().mean() > 0.95


def test_a_soft_frame_is_still_clean(judge: QualityJudge, frames: torch.Tensor) -> None:
    soft = torch.nn.functional.avg_pool2d(frames.float(), 3, stride=1, padding=1, count_include_pad=False)
    assert (judge(soft.round().to(torch.uint8))["clean_face"] > 0.5).float().mean() > 0.8


def test_two_poses_at_once_are_not(judge: QualityJudge, frames: torch.Tensor) -> None:
    ghost = (frames.float() + frames.roll((3, 4), dims=(2, 3)).float()) / 2
    assert (judge(ghost.round().to(torch.uint8))["clean_face"] > 0.5).float().mean() < 0.1


def test_a_fault_beside_the_face_spoils_the_frame_alone(judge: QualityJudge, frames: torch.Tensor) -> None:
    torn = frames.clone()
    torn[:, :, 112:, :24] = 255 - torn[:, :, 112:, :24]
    verdict = judge(torn)
    assert (verdict["clean_frame"] < 0.5).float().mean() > 0.9
    assert (verdict["clean_face"] > 0.5).float().mean() > 0.9


def test_a_fault_counts_where_it_is() -> None:
    meant = torch.full((1, 3, 128, 128), 0.5)
    shown = meant.clone()
    shown[:, :, 0 : 2 * CELL, 0 : 3 * CELL] += 0.5
    cells = distance(shown, meant)
    assert cells[0, 0, 0] == pytest.approx(0.5, abs=0.01)
    assert (cells > 0.1).sum() == 6
    face, frame = damage(cells)[0].tolist()
    assert face < 0.02
    assert frame > 0.4
    assert scrambling(cells).max() == 1


def test_a_slightly_other_place_is_forgiven_and_another_pose_is_not(frames: torch.Tensor) -> None:
    meant = frames.float() / 255
    near, far = (damage(distance(meant.roll((move, -move), dims=(2, 3)), meant))[:, 0] for move in (2, 7))
    assert (near[:, None] < far).all()
    assert (truth(far) == 1).all()
    assert (truth(near) == 0).float().mean() > 0.9


def test_what_lies_between_is_undecided() -> None:
    assert truth(torch.tensor([0.0, 0.04, 0.2])).tolist() == [0, UNDECIDED, 1]
