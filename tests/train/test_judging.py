from pathlib import Path

import pytest
import torch

from enliven.judges.face import FaceNetwork
from enliven.judges.quality import QualityNetwork
from enliven.train.gallery import Gallery, draw_gallery, gallery_batches
from enliven.train.judging import FaceObjective, QualityObjective, area, correlation, examine, spoil, train_judge
from enliven.train.trainer import TrainConfig


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    return draw_gallery(range(7_000_000, 7_000_004), poses=2)


def test_the_area_counts_pairs_in_the_right_order() -> None:
    assert area(torch.tensor([2.0, 3.0]), torch.tensor([1.0, 2.5])) == 0.75
    assert correlation(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([4.0, 3.0, 2.0])) == pytest.approx(-1)


def test_failed_frames_are_judged_by_what_was_meant(gallery: Gallery) -> None:
    torch.manual_seed(0)
    failed = Gallery(gallery.frames, 255 - gallery.frames, gallery.readings)
    shown, target = spoil(next(gallery_batches(failed, pairs=4)))
    assert shown.shape == (16, 3, 128, 128)
    whole = (target == 1).flatten(1).float().mean(dim=1) > 0.7
    assert 3 <= whole.sum() <= 13


@pytest.mark.parametrize("kind", ["face", "quality"])
def test_a_judge_learns_and_goes_on_from_where_it_was(gallery: Gallery, tmp_path: Path, kind: str) -> None:
    torch.manual_seed(0)
    objective = FaceObjective(FaceNetwork()) if kind == "face" else QualityObjective(QualityNetwork())
    before = {key: value.clone() for key, value in objective.network.state_dict().items()}
    config = TrainConfig(tmp_path, steps=2, learning_rate=1e-3, muon="", warmup=1)
    train_judge(objective, gallery, config)
    after = objective.network.state_dict()
    assert not torch.equal(before["trunk.outer.0.0.weight"], after["trunk.outer.0.0.weight"])
    again = FaceObjective(FaceNetwork()) if kind == "face" else QualityObjective(QualityNetwork())
    train_judge(again, gallery, config)
    assert all(torch.equal(value, after[key]) for key, value in again.network.state_dict().items())


def test_the_examination_asks_for_everything(gallery: Gallery) -> None:
    found = examine(FaceNetwork().eval(), QualityNetwork().eval(), gallery)
    assert {"mouth_open correlation", "identity area", "clean face area", "clean frame accuracy"} <= found.keys()
