"""Tests of the training loop: resumed exactly, stopped by numbers that are none, at the right rate."""

import copy
import json
import math
import os
import signal
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from enliven.errors import Cancelled, ConfigError
from enliven.models.vae import ToonAutoencoder, ToonAutoencoderParams
from enliven.systems.longcat import ReferenceSkip
from enliven.train import checkpoint
from enliven.train.autoencoder import DecoderObjective, crop_batches
from enliven.train.muon import Muon
from enliven.train.optimizers import remembered
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
    assert {type(optimizer) for optimizer in whole.optimizers["autoencoder"]} == {torch.optim.AdamW, Muon}
    whole.fit()

    first = decoder_trainer(tmp_path / "halves", dtype=dtype)
    taken = first.take_step

    def die_at_three() -> dict[str, float]:
        if first.step == 3:
            first.save()
            raise KeyboardInterrupt
        return taken()

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
    for mine_optimizer, other_optimizer in zip(
        second.optimizers["autoencoder"], whole.optimizers["autoencoder"], strict=True
    ):
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
    assert (tmp_path / "fault-00000004.safetensors").exists()
    assert all(torch.isfinite(value).all() for value in bad.network.parameters())
    again = Trainer(config, Line(), numbers())
    assert again.restore() == 4  # the first step of a run is saved at once
    assert torch.equal(again.network["line"].weight, bad.network["line"].weight)
    assert not torch.equal(again.network["line"].weight, good.network["line"].weight)


def test_training_goes_on_from_the_checkpoint_that_was_being_replaced(tmp_path: Path) -> None:
    config = TrainConfig(tmp_path, steps=3)
    Trainer(config, Line(), numbers()).fit()
    (tmp_path / "checkpoint").rename(tmp_path / "checkpoint.old")
    objective = Line()
    Trainer(replace(config, steps=5), objective, numbers()).fit()
    assert len(objective.seen) == 2


def rates(folder: Path, **settings: Any) -> list[float]:
    trainer = Trainer(TrainConfig(folder, learning_rate=1.0, **settings), Line(), numbers())
    return [trainer.take_step(next(trainer.batches))["rate_line"] for _ in range(trainer.config.steps)]


def test_the_rate_rises_stays_and_falls(tmp_path: Path) -> None:
    measured = rates(tmp_path, steps=20, warmup=4, decay=0.5)
    assert measured[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert measured[4:11] == pytest.approx([1.0] * 7)
    assert measured[11:] == pytest.approx([0.1 * left for left in range(9, 0, -1)])
    assert rates(tmp_path, steps=3, warmup=0, decay=0) == [1.0] * 3


def test_muon_runs_at_its_gain(tmp_path: Path) -> None:
    trainer = decoder_trainer(tmp_path, learning_rate=0.01, muon_gain=7.0)
    trainer.take_step(next(trainer.batches))
    adam, muon = (optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers["autoencoder"])
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


class Duel:
    """Two lines after the same target through each other; ``turns`` says who is stepped."""

    def __init__(self, turns: Sequence[Collection[str]]) -> None:
        self.networks: Mapping[str, nn.Module] = {"student": nn.Linear(2, 2), "critic": nn.Linear(2, 2)}
        self.turns = turns

    def turn(self, step: int) -> Collection[str]:
        return self.turns[step % len(self.turns)]

    def losses(self, batch: Mapping[str, Any], step: int) -> dict[str, Tensor]:
        output = batch["x"]
        for network in self.networks.values():
            output = network(output)
        return {"error": (output - 1).square().sum()}


def pairs() -> Iterator[Mapping[str, Any]]:
    while True:
        yield {"x": torch.rand(2)}


def duel_trainer(folder: Path, turns: Sequence[Collection[str]] = ({"student"}, {"critic"}), **changes: Any) -> Trainer:
    torch.manual_seed(3)
    settings = {"steps": 6, "muon": r"critic\.weight", "warmup": 0, "dtype": "float32", "decay": 0}
    return Trainer(TrainConfig(folder, **(settings | changes)), Duel(turns), pairs())


def test_only_the_networks_whose_turn_it_is_are_stepped_and_averaged(tmp_path: Path) -> None:
    trainer = duel_trainer(tmp_path)
    for moves, rests in (("student", "critic"), ("critic", "student"), ("student", "critic")):
        before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
        averages = {name: value.clone() for name, value in trainer.average.items()}
        trainer.take_step(next(trainer.batches))
        for part in ("weight", "bias"):
            assert not torch.equal(trainer.network[moves].state_dict()[part], before[f"{moves}.{part}"])
            assert torch.equal(trainer.network[rests].state_dict()[part], before[f"{rests}.{part}"])
            assert not torch.equal(trainer.averaged(moves)[part], averages[f"{moves}.{part}"])
            assert torch.equal(trainer.averaged(rests)[part], averages[f"{rests}.{part}"])


def test_gradients_of_another_turn_do_not_count(tmp_path: Path) -> None:
    """The loss reaches both networks in every step; a critic stepped later starts from no gradient."""
    one = duel_trainer(tmp_path / "one", [{"student"}, {"critic"}], clip_norm=math.inf)
    x, other = {"x": torch.tensor([1.0, 2.0])}, {"x": torch.tensor([0.5, -1.0])}
    one.take_step(x)
    expected = duel_trainer(tmp_path / "two", [{"critic"}], clip_norm=math.inf)
    expected.network.load_state_dict(one.network.state_dict())
    expected.step = 1
    one.take_step(other)
    expected.take_step(other)
    for name, value in one.network.state_dict().items():
        assert torch.equal(value, expected.network.state_dict()[name]), name


def test_each_network_has_its_rate(tmp_path: Path) -> None:
    trainer = duel_trainer(tmp_path, [{"student", "critic"}], learning_rate=0.01, learning_rates={"critic": 0.002})
    told = trainer.take_step(next(trainer.batches))
    assert (told["rate_student"], told["rate_critic"]) == pytest.approx((0.01, 0.002))
    (student,), (adam, muon) = trainer.optimizers["student"], trainer.optimizers["critic"]
    assert [o.param_groups[0]["lr"] for o in (student, adam, muon)] == pytest.approx([0.01, 0.002, 0.01])


def test_turns_go_on_after_a_restart_as_if_there_had_been_none(tmp_path: Path) -> None:
    whole, first = duel_trainer(tmp_path / "whole"), duel_trainer(tmp_path / "halves", steps=3)
    whole.fit()
    first.fit()
    second = duel_trainer(tmp_path / "halves")
    second.fit()
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, second.network.state_dict()[name]), name


def test_names_of_networks_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="teacher") as caught:
        duel_trainer(tmp_path, learning_rates={"teacher": 1.0})
    assert "student" in caught.value.hint
    for turn in ({"teacher"}, ()):
        trainer = duel_trainer(tmp_path, [turn])
        with pytest.raises(ConfigError, match="turn"):
            trainer.take_step(next(trainer.batches))


def test_a_checkpoint_that_counts_its_parameters_goes_on(tmp_path: Path) -> None:
    """Checkpoints were once of one AdamW and one Muon over all networks, their parameters counted."""
    trainer = duel_trainer(tmp_path / "new", [{"student", "critic"}], steps=3)
    trainer.fit()
    counted = {
        "network": trainer.network.state_dict(),
        "average": trainer.average,
        "optimizer0": {},
        "optimizer1": {},
    }
    order = {"optimizer0": ["student.weight", "student.bias", "critic.bias"], "optimizer1": ["critic.weight"]}
    stored = remembered(trainer.network, trainer.optimizers)
    for file, names in order.items():
        for index, name in enumerate(names):
            parts = {key.split("/")[1]: value for key, value in stored.items() if key.startswith(f"{name}/")}
            counted[file] |= {f"{index}.{kind}": value for kind, value in parts.items()}
    checkpoint.save(tmp_path / "old/checkpoint", tensors=counted, counters={"step": 3, "seconds": 0.1})
    ends = []
    for folder in ("old", "new"):
        later = duel_trainer(tmp_path / folder, [{"student", "critic"}])
        later.fit()
        ends.append(later.network.state_dict())
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_parts_of_a_step_are_one_larger_batch(tmp_path: Path) -> None:
    """Two parts of a step: the mean gradient of both, each drawn with its own random numbers."""
    trainer = duel_trainer(tmp_path, [{"student", "critic"}], parts=2, clip_norm=math.inf, muon="")
    seen: list[Tensor] = []
    learn = trainer.objective.losses
    trainer.objective.losses = lambda batch, step: seen.append(batch["x"]) or learn(batch, step)  # type: ignore[method-assign, func-returns-value]
    networks = copy.deepcopy(trainer.objective.networks)
    stepped = trainer.take_step()
    assert len(seen) == 2
    assert not torch.equal(*seen)
    errors = [(networks["critic"](networks["student"](x)) - 1).square().sum() for x in seen]
    mean = sum(errors) / 2
    gradients = torch.autograd.grad(mean, [value for each in networks.values() for value in each.parameters()])
    assert stepped["error"] == pytest.approx(mean.item())
    assert stepped["gradient_norm"] == pytest.approx(float(torch.cat([g.flatten() for g in gradients]).norm()))


def test_parts_that_processes_cannot_share_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="0 parts"):
        duel_trainer(tmp_path, parts=0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_ends_and_the_run_goes_on_from_there(tmp_path: Path, number: signal.Signals) -> None:
    stopped, whole = duel_trainer(tmp_path / "stopped"), duel_trainer(tmp_path / "whole")
    taken = stopped.take_step

    def interrupted() -> dict[str, float]:
        if stopped.step == 2:
            os.kill(os.getpid(), number)
        return taken()

    stopped.take_step = interrupted  # type: ignore[method-assign]
    with pytest.raises(Cancelled, match="stopped at step 3, saved in") as caught:
        stopped.fit()
    assert "same command" in caught.value.hint
    whole.fit()
    second = duel_trainer(tmp_path / "stopped")
    second.fit()
    assert all(torch.equal(value, second.average[name]) for name, value in whole.average.items())


def test_samples_are_of_the_averages_and_disturb_nothing(tmp_path: Path) -> None:
    plain = duel_trainer(tmp_path / "plain")
    plain.fit()
    made: list[tuple[str, Tensor, Tensor]] = []

    def sample(networks: Mapping[str, nn.Module], path: Path) -> None:
        made.append((path.name, networks["student"].weight.clone(), watched.averaged("student")["weight"].clone()))
        torch.rand(9)
        if len(made) == 3:
            raise RuntimeError("a fault in the sample")

    watched = duel_trainer(tmp_path / "watched", sample_minutes=0.0)
    watched.sample = sample
    watched.fit()
    assert [name for name, _, _ in made] == [f"step-{step:08}" for step in range(1, 7)]
    assert all(torch.equal(seen, average) for _, seen, average in made)
    assert not torch.equal(made[-1][1], watched.network["student"].weight)
    assert all(torch.equal(value, watched.network.state_dict()[n]) for n, value in plain.network.state_dict().items())


def test_saving_beside_the_training_disturbs_nothing(tmp_path: Path) -> None:
    plain, saving = duel_trainer(tmp_path / "plain"), duel_trainer(tmp_path / "saving", save_minutes=0.0)
    plain.fit()
    saving.fit()
    assert all(torch.equal(value, saving.network.state_dict()[n]) for n, value in plain.network.state_dict().items())


def test_contract() -> None:
    assert isinstance(Line(), Objective)


def test_batches_move_to_the_device_as_a_whole() -> None:
    clip = LatentClip(torch.zeros(1, 2, 1, 4, 4), ReferenceSkip(0, 0)(frames=1, context=0, reference=False))
    moved = on_device({"clip": clip, "pair": (torch.zeros(1), "name")}, "meta")
    assert moved["clip"].latents.is_meta
    assert moved["clip"].layout == clip.layout
    assert moved["pair"][0].is_meta
    assert moved["pair"][1] == "name"


def test_autocast_keeps_no_halves_of_weights(tmp_path: Path) -> None:
    """They would be of all weights, in every process, however many share the network."""
    kept: list[bool] = []

    class Watching(Line):
        def losses(self, batch: Mapping[str, Any], step: int) -> dict[str, Tensor]:
            kept.append(torch.is_autocast_cache_enabled())
            return super().losses(batch, step)

    Trainer(TrainConfig(tmp_path, steps=2, muon=""), Watching(), numbers()).fit()
    assert kept == [False, False]
