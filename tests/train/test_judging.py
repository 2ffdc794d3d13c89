from pathlib import Path

import pytest
import torch

from enliven.judges.face import FaceNetwork
from enliven.judges.quality import UNDECIDED, QualityNetwork
from enliven.train.gallery import Gallery, draw_gallery, gallery_batches
from enliven.train.judging import FaceObjective, QualityObjective, balance, spoil, train_judge
from enliven.train.trainer import TrainConfig


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    return draw_gallery(range(7_000_000, 7_000_004), poses=2)


def test_failed_frames_are_judged_by_what_was_meant(gallery: Gallery) -> None:
    torch.manual_seed(0)
    failed = Gallery(gallery.frames, 255 - gallery.frames, gallery.readings)
    shown, distances = spoil(next(gallery_batches(failed, pairs=4)))
    assert shown.shape == (16, 3, 128, 128)
    turned = (distances.flatten(1).median(dim=1).values > 0.1).sum()
    assert 3 <= turned <= 13


def test_softness_alone_is_not_taken_for_damage(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enliven.train.judging.scramble", lambda meant, *_, **__: meant)
    shown, distances = spoil(next(gallery_batches(gallery, pairs=4)))
    assert not torch.equal(shown, shown.round())
    assert (distances == 0).all()


def test_the_undecided_teach_no_verdict(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enliven.train.judging.truth", lambda harm: torch.full_like(harm, UNDECIDED))
    losses = QualityObjective(QualityNetwork()).losses(next(gallery_batches(gallery, pairs=4)), 0)
    assert losses["verdicts"] == 0
    assert losses["cells"] > 0


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


def test_the_bound_lies_where_both_kinds_are_right_equally_often(gallery: Gallery) -> None:
    torch.manual_seed(0)
    network = QualityNetwork().eval()
    before = network.face.bias.clone(), network.frame.bias.clone()
    moves = balance(network, gallery, batches=2)
    assert torch.equal(network.face.bias, before[0] + moves[0])
    assert torch.equal(network.frame.bias, before[1] + moves[1])
    assert balance(network, gallery, batches=2).abs().max() < 1e-5
