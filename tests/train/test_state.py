"""Weights, averages and memories as one set of tensors."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from enliven.train.optimizers import optimizers_of
from enliven.train.shared_checkpoint import Saver
from enliven.train.state import State
from enliven.train.trainer import TrainConfig, Trainer


def state() -> State:
    network = nn.ModuleDict({"a": nn.BatchNorm1d(2), "b": nn.Linear(2, 2)})
    return State(network, {n: optimizers_of(n, m, rate=0.1, weight_decay=0, muon="b") for n, m in network.items()})


def test_averages_follow_those_whose_turn_it_is(tmp_path: Path) -> None:
    held = state()
    torch.nn.init.zeros_(held.average["a.weight"])
    torch.nn.init.zeros_(held.average["b.bias"])
    held.network["a"].num_batches_tracked.fill_(7)
    held.follow(["a"], keep=0.75)
    assert torch.equal(held.average["a.weight"], torch.full((2,), 0.25))
    assert held.average["a.num_batches_tracked"] == 7
    assert torch.equal(held.average["b.bias"], torch.zeros(2))


def test_averages_are_in_use_for_a_while() -> None:
    held = state()
    torch.nn.init.zeros_(held.average["b.weight"])
    before = held.network["b"].weight.detach().clone()
    assert held.averages_of("b").keys() == {"weight", "bias"}
    with held.averages_in_use():
        assert not held.network["b"].weight.any()
    assert torch.equal(held.network["b"].weight, before)


def test_everything_comes_back_from_the_disk(tmp_path: Path) -> None:
    one, other = state(), state()
    one.network["b"](one.network["a"](torch.randn(4, 2))).sum().backward()
    for each in one.optimizers.values():
        for optimizer in each:
            optimizer.step()
    one.follow(["a", "b"], keep=0.5)
    saver = Saver(tmp_path / "run")
    saver.begin(one.tensors(), {"step": 1})
    saver.wait()
    assert other.restore(tmp_path / "run") == {"step": 1}
    mine, its = one.tensors(), other.tensors()
    assert mine.keys() == its.keys()
    assert {"network/b.weight", "average/a.running_mean", "optimizer/b.weight/momentum_buffer"} <= mine.keys()
    assert all(torch.equal(value, its[name]) for name, value in mine.items())


class Line:
    """Fits a line and remembers what it has seen."""

    def __init__(self) -> None:
        self.networks: Mapping[str, nn.Module] = {"line": nn.Linear(1, 1)}
        self.seen: list[float] = []

    def losses(self, batch: Mapping[str, Any], step: int) -> dict[str, Tensor]:
        self.seen.append(float(batch["x"]))
        return {"error": self.networks["line"](batch["x"]).square().mean()}


class Row:
    """Numbers in their order, which no random number decides."""

    def __init__(self) -> None:
        self.next = 0

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        while True:
            self.next += 1
            yield {"x": torch.tensor([float(self.next)])}

    def state(self) -> dict[str, int]:
        return {"next": self.next}

    def restore(self, *states: Mapping[str, int]) -> None:
        (state,) = states
        self.next = state["next"]


def test_batches_with_a_position_go_on_from_it(tmp_path: Path) -> None:
    seen = []
    for steps in (3, 5):
        objective = Line()
        Trainer(TrainConfig(tmp_path, steps=steps, learning_rate=1e-4), objective, Row()).fit()
        seen.append(objective.seen)
    assert seen == [[1, 2, 3], [4, 5]]
