"""A network shared by several processes learns what one process learns."""

import copy
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed, nn  # noqa: TID251

from enliven.train.processes import rank_and_count
from enliven.train.sharding import blocks_of, clip_gradients, gathered, recompute_blocks, skeleton
from enliven.train.trainer import TrainConfig, Trainer
from several_processes import run_together


class Stack(nn.Module):
    """A network of blocks, whose sizes two processes cannot halve evenly."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(3, 5)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 5)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        for block in self.blocks:
            x = x + block(x)
        return x


class Guess:
    """A stack learns a function of noisy numbers through a small network that is not in blocks."""

    def __init__(self) -> None:
        torch.manual_seed(5)
        self.networks: Mapping[str, nn.Module] = {"stack": Stack(), "head": nn.Linear(5, 1)}

    def losses(self, batch: Mapping[str, Any], step: int) -> dict[str, Tensor]:
        x = batch["x"] + 0.1 * torch.randn_like(batch["x"])
        guess = self.networks["head"](self.networks["stack"](x))
        return {"error": (guess - batch["x"].prod(dim=1, keepdim=True)).square().mean()}


def rows() -> Iterator[Mapping[str, Any]]:
    while True:
        yield {"x": torch.randn(4, 3)}


def trainer(folder: Path, steps: int = 20, **changes: Any) -> Trainer:
    settings = {"learning_rate": 0.02, "warmup": 2, "muon": r"blocks.*weight", "dtype": "float32", "decay": 0}
    return Trainer(TrainConfig(folder, steps=steps, parts=2, **(settings | changes)), Guess(), rows())


def train_together(folder: Path) -> None:
    """In each of two processes: ten steps and a stop, then on to twenty; what came out is written by the first."""
    distributed.init_process_group("gloo")
    trainer(folder / "two", steps=10).fit()
    second = trainer(folder / "two")
    assert second.network["stack"].enter.weight.to_local().shape != (5, 3)
    second.fit()
    assert second.step == 20
    learnt = second.averaged_network("stack").state_dict() | second.averaged("head")
    if distributed.get_rank() == 0:
        torch.save(learnt, folder / "learnt.pt")


def test_two_processes_learn_what_one_does_and_one_goes_on_from_two(tmp_path: Path) -> None:
    alone = trainer(tmp_path / "one")
    alone.fit()
    run_together(2, train_together, tmp_path)
    learnt = torch.load(tmp_path / "learnt.pt")
    moved = max(
        float((v - Guess().networks["stack"].state_dict()[n]).abs().max()) for n, v in alone.averaged("stack").items()
    )
    assert moved > 0.02
    for name, value in (alone.averaged("stack") | alone.averaged("head")).items():
        torch.testing.assert_close(learnt[name], value, atol=1e-4, rtol=0)
    longer, resumed = trainer(tmp_path / "one", steps=24), trainer(tmp_path / "two", steps=24)
    longer.fit()
    resumed.fit()
    for name, value in longer.network.state_dict().items():
        torch.testing.assert_close(resumed.network.state_dict()[name], value, atol=1e-4, rtol=0)
    written = [(tmp_path / name / "metrics.jsonl").read_text().count("\n") for name in ("one", "two")]
    assert written[0] == written[1]


class Alone(Guess):
    """All that learns is a stack."""

    def __init__(self) -> None:
        super().__init__()
        self.networks = {"stack": self.networks["stack"]}

    def losses(self, batch: Mapping[str, Any], step: int) -> dict[str, Tensor]:
        return {"error": (self.networks["stack"](batch["x"]).sum(1) - batch["x"].prod(dim=1)).square().mean()}


def sample_together(folder: Path) -> None:
    """Samples of a shared network after each of three steps, the second of which fails."""
    distributed.init_process_group("gloo")
    rank, ended, waited = distributed.get_rank(), [], []

    def sample(networks: Mapping[str, nn.Module], path: Path) -> None:
        time.sleep(0.5)
        ended.append(time.monotonic())
        assert rank_and_count() == (0, 1), "nobody else would answer"
        if len(ended) == 2:
            raise RuntimeError("a fault in the sample")
        weights = {key: value.clone() for key, value in networks["stack"].state_dict().items()}
        torch.save(weights | {"seen": networks["stack"](torch.ones(1, 3))}, path.with_suffix(".pt"))

    config = TrainConfig(folder / "run", steps=3, parts=2, learning_rate=0.02, dtype="float32", sample_minutes=0.0)
    watched = Trainer(config, Alone(), rows(), sample)
    taken = watched.take_sample

    def take() -> None:
        held = watched.gathered("stack")
        assert bool(held) == (rank == 0), "the others hold nothing"
        taken()
        waited.append(time.monotonic())
        if rank == 0:
            torch.save(held, folder / f"held-{watched.step}.pt")

    watched.take_sample = take  # type: ignore[method-assign]
    watched.fit()
    assert watched.step == 3
    every: list[list[float]] = [[], []]
    distributed.all_gather_object(every, ended if rank == 0 else waited)
    assert [len(times) for times in every] == [3, 3]
    assert all(end <= done for end, done in zip(*every, strict=True)), "the others wait for the first"


def test_the_first_of_two_processes_samples_and_a_fault_stops_nothing(tmp_path: Path) -> None:
    run_together(2, sample_together, tmp_path)
    samples = tmp_path / "run" / "samples"
    assert sorted(path.name for path in samples.iterdir()) == ["step-00000001.pt", "step-00000003.pt"]
    for step in (1, 3):
        made, held = torch.load(samples / f"step-{step:08}.pt"), torch.load(tmp_path / f"held-{step}.pt")
        stack = Stack()
        stack.load_state_dict(held)
        assert torch.equal(made.pop("seen"), stack(torch.ones(1, 3)))
        assert made.keys() == held.keys()
        assert all(torch.equal(made[key], value) for key, value in held.items())


def test_what_is_gathered_is_apart() -> None:
    value = torch.ones(2)
    (found,) = gathered({"a": value}).values()
    value.zero_()
    assert found.tolist() == [1, 1]


def test_computing_blocks_again_changes_nothing() -> None:
    plain, frugal = Stack(), Stack()
    frugal.load_state_dict(plain.state_dict())
    recompute_blocks([frugal])
    x = torch.randn(4, 3)
    kept: list[int] = []
    for network in (plain, frugal):
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, sizes=sizes: sizes.append(t.numel()) or t, lambda t: t):
            output = network(x)
        output.square().sum().backward()
        kept.append(sum(sizes))
    for one, other in zip(plain.parameters(), frugal.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
    assert kept[1] < kept[0] / 2


def test_gradients_are_clipped_as_torch_does() -> None:
    torch.manual_seed(0)
    network = Stack()
    network(torch.randn(4, 3)).square().sum().backward()
    other = copy.deepcopy(network)
    for one, same in zip(network.parameters(), other.parameters(), strict=True):
        same.grad = one.grad.clone()
    for most in (math.inf, 0.5):
        expected = nn.utils.clip_grad_norm_(other.parameters(), most)
        assert torch.equal(clip_gradients(network.parameters(), most), expected)
        for one, same in zip(network.parameters(), other.parameters(), strict=True):
            assert torch.equal(one.grad, same.grad)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_gradients_without_a_norm_stay_as_they_are(bad: float) -> None:
    network = Stack()
    for value in network.parameters():
        value.grad = torch.full_like(value, 2.0)
    network.enter.bias.grad[0] = bad
    assert not clip_gradients(network.parameters(), 0.5).isfinite()
    spoilt = {name for name, value in network.named_parameters() if not (value.grad == 2).all()}
    assert spoilt == {"enter.bias"}


def test_a_skeleton_takes_weights_and_has_none() -> None:
    network = Stack()
    bare = skeleton(network)
    assert all(value.is_meta for value in bare.parameters())
    bare.load_state_dict(network.state_dict(), assign=True)
    x = torch.randn(2, 3)
    assert torch.equal(bare(x), network(x))


@pytest.mark.parametrize(("network", "count"), [(Stack(), 2), (nn.Linear(1, 1), 0)])
def test_large_networks_are_known_by_their_blocks(network: nn.Module, count: int) -> None:
    assert len(blocks_of(network)) == count
