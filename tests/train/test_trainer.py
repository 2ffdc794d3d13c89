"""Tests of the training loop: resumed exactly, stopped by numbers that are none, at the right rate."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from enliven.models.vae import ToonAutoencoder, ToonAutoencoderParams
from enliven.systems.longcat import ReferenceSkip
from enliven.train.autoencoder import DecoderObjective, crop_batches
from enliven.train.trainer import Objective, TrainConfig, Trainer, on_device
from enliven.types import LatentClip, Progress

TINY = ToonAutoencoderParams(channels=2, inner_width=4, outer_width=4, blocks=(1, 1))


class Line:
    """Fits ``weight * x`` to ``2 x``; ``spoil`` makes the loss of a step not a number, or only its gradient."""

    def __init__(self, spoil: Mapping[int, str] | None = None) -> None:
        self.line = nn.Linear(1, 1)
        self.networks: Mapping[str, nn.Module] = {"line": self.line}
        self.spoil = spoil or {}
        self.seen: list[float] = []

    def losses(self, batch: Mapping[str, Any], step: int) -> dict[str, Tensor]:
        self.seen.append(float(batch["x"]))
        error = (self.line(batch["x"][None]) - 2 * batch["x"]).square().mean()
        match self.spoil.get(step):
            case "loss":
                return {"error": error * math.nan}
            case "gradient":
                return {"error": error + self.line.weight.sub(self.line.weight.detach()).abs().sqrt().sum()}
        return {"error": error}


def numbers() -> Iterator[Mapping[str, Any]]:
    while True:
        yield {"x": torch.rand(1)}


def decoder_trainer(folder: Path, **changes: Any) -> Trainer:
    """A real network: channels last, matrices for Muon, frozen parts, noise in the loss."""
    torch.manual_seed(7)
    videos = [torch.randint(0, 256, (9, 3, 16, 16), dtype=torch.uint8) for _ in range(3)]
    autoencoder = ToonAutoencoder(TINY)
    config = TrainConfig(folder, steps=6, warmup=2, muon=r"(conv[12]|past)\.weight", log_every=2, **changes)
    return Trainer(config, DecoderObjective(autoencoder), crop_batches(videos, batch=2, frames=5, side=8))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_run_that_is_stopped_and_goes_on_equals_one_that_is_not(tmp_path: Path, dtype: str) -> None:
    whole = decoder_trainer(tmp_path / "whole", dtype=dtype)
    assert {type(optimizer) for optimizer in whole.optimizers} == {torch.optim.AdamW, torch.optim.Muon}
    whole.fit()

    first = decoder_trainer(tmp_path / "halves", dtype=dtype)
    taken = first.take_step

    def die_at_three(batch: Mapping[str, Any]) -> dict[str, float]:
        if first.step == 3:
            first.save()
            raise KeyboardInterrupt
        return taken(batch)

    first.take_step = die_at_three  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        first.fit()
    torch.rand(5)
    second = decoder_trainer(tmp_path / "halves", dtype=dtype)
    second.fit()

    assert second.step == whole.step == 6
    for mine, other in (
        (second.network.state_dict(), whole.network.state_dict()),
        (second.average, whole.average),
    ):
        assert mine.keys() == other.keys()
        assert all(torch.equal(mine[name], other[name]) for name in mine)
    for mine_optimizer, other_optimizer in zip(second.optimizers, whole.optimizers, strict=True):
        mine, other = mine_optimizer.state_dict()["state"], other_optimizer.state_dict()["state"]
        assert mine.keys() == other.keys()
        assert all(torch.equal(mine[i][name], other[i][name]) for i in mine for name in mine[i])
    rows = [json.loads(line) for line in (tmp_path / "whole/metrics.jsonl").read_text().splitlines()]
    resumed = [json.loads(line) for line in (tmp_path / "halves/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [row["step"] for row in resumed] == [2, 4, 6]
    assert rows[2]["absolute"] == resumed[2]["absolute"]
    assert resumed[1]["absolute"] == pytest.approx(rows[1]["absolute"], rel=0.3)


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    runs = []
    for seed in (0, 0, 1):
        objective = Line()
        Trainer(TrainConfig(tmp_path / f"{len(runs)}", steps=3, seed=seed), objective, numbers()).fit()
        runs.append(objective.seen)
    assert runs[0] == runs[1]
    assert len({*runs[0], *runs[2]}) == 6


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_number_that_is_none_stops_the_run_and_leaves_the_last_checkpoint(tmp_path: Path, what: str) -> None:
    config = TrainConfig(tmp_path, steps=3, dtype="float32", warmup=0)
    good = Trainer(config, Line(), numbers())
    good.fit()
    bad = Trainer(replace(config, steps=6), Line({4: what}), numbers())
    with pytest.raises(FloatingPointError, match="nan at step 4"):
        bad.fit()
    assert all(torch.isfinite(value).all() for value in bad.network.parameters())
    again = Trainer(config, Line(), numbers())
    assert again.restore() == 3
    assert torch.equal(again.network["line"].weight, good.network["line"].weight)


def test_training_goes_on_from_the_checkpoint_that_was_being_replaced(tmp_path: Path) -> None:
    config = TrainConfig(tmp_path, steps=3)
    Trainer(config, Line(), numbers()).fit()
    (tmp_path / "checkpoint").rename(tmp_path / "checkpoint.old")
    objective = Line()
    Trainer(replace(config, steps=5), objective, numbers()).fit()
    assert len(objective.seen) == 2


def rates(folder: Path, **settings: Any) -> list[float]:
    trainer = Trainer(TrainConfig(folder, learning_rate=1.0, **settings), Line(), numbers())
    return [trainer.take_step(next(trainer.batches))["rate"] for _ in range(trainer.config.steps)]


def test_the_rate_rises_stays_and_falls(tmp_path: Path) -> None:
    measured = rates(tmp_path, steps=20, warmup=4, decay=0.5)
    assert measured[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert measured[4:11] == pytest.approx([1.0] * 7)
    assert measured[11:] == pytest.approx([0.1 * left for left in range(9, 0, -1)])
    assert rates(tmp_path, steps=3, warmup=0, decay=0) == [1.0] * 3


def test_muon_runs_at_its_gain(tmp_path: Path) -> None:
    trainer = decoder_trainer(tmp_path, learning_rate=0.01, muon_gain=7.0)
    trainer.take_step(next(trainer.batches))
    adam, muon = (optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers)
    assert muon == pytest.approx(7 * adam)
    assert adam == pytest.approx(0.005)


def test_what_is_frozen_stays_and_what_is_trained_moves(tmp_path: Path) -> None:
    trainer = decoder_trainer(tmp_path)
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trainer.fit()
    same = {name for name, value in trainer.network.state_dict().items() if torch.equal(value, before[name])}
    assert same == {f"autoencoder.{name}" for name in ("analysis.weight", "analysis.bias", "latent_mean", "latent_std")}


def test_the_average_follows_the_weights_more_slowly(tmp_path: Path) -> None:
    trainer = Trainer(TrainConfig(tmp_path, ema=0.5, dtype="float32"), Line(), numbers())
    expected = trainer.network["line"].weight.detach().clone()
    for step in range(1, 4):
        trainer.take_step(next(trainer.batches))
        keep = min(0.5, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * trainer.network["line"].weight.detach()
    torch.testing.assert_close(trainer.averaged("line")["weight"], expected)
    assert trainer.averaged("line").keys() == {"weight", "bias"}


def test_progress_ends_at_the_whole(tmp_path: Path) -> None:
    heard: list[Progress] = []
    Trainer(TrainConfig(tmp_path, steps=4, log_every=2), Line(), numbers()).fit(heard.append)
    assert [progress.fraction for progress in heard] == [0.5, 1.0]


def test_a_run_ends_after_its_minutes(tmp_path: Path) -> None:
    trainer = Trainer(TrainConfig(tmp_path, minutes=1e-4), Line(), numbers())
    trainer.fit()
    assert 0 < trainer.step < 1_000_000


def test_contract() -> None:
    assert isinstance(Line(), Objective)


def test_batches_move_to_the_device_as_a_whole() -> None:
    clip = LatentClip(torch.zeros(1, 2, 1, 4, 4), ReferenceSkip(0, 0)(frames=1, context=0, reference=False))
    moved = on_device({"clip": clip, "pair": (torch.zeros(1), "name")}, "meta")
    assert moved["clip"].latents.is_meta
    assert moved["clip"].layout == clip.layout
    assert moved["pair"][0].is_meta
    assert moved["pair"][1] == "name"
