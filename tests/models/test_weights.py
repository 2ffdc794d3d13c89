from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from enliven.errors import WeightsError
from enliven.models import weights
from enliven.models.weights import fit_weights, load_weights, read_weights, save_weights


class Tied(nn.Module):
    """Two layers that share a weight, one buffer that is stored and one that is computed."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.first = nn.Linear(width, width)
        self.second = nn.Linear(width, width)
        self.second.weight = self.first.weight
        self.picture = nn.Conv2d(width, width, 3).to(memory_format=torch.channels_last)
        self.register_buffer("mean", torch.randn(width))
        self.register_buffer("ramp", torch.arange(3.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)) + self.mean + self.ramp.sum()


def test_networks_survive_the_disk(tmp_path: Path) -> None:
    network = Tied()
    save_weights(network, tmp_path, torch.float32)
    loaded = load_weights(Tied, tmp_path)
    x = torch.randn(2, 8)
    assert torch.equal(loaded(x), network(x))
    assert not any(parameter.requires_grad or parameter.is_meta for parameter in loaded.parameters())
    assert loaded.picture.weight.is_contiguous(memory_format=torch.channels_last)


def test_what_was_read_can_be_saved_again(tmp_path: Path) -> None:
    save_weights(Tied(), tmp_path / "first")
    loaded = load_weights(Tied, tmp_path / "first")
    assert loaded.second.weight is loaded.first.weight
    save_weights(loaded, tmp_path / "second")
    first, second = (read_weights(tmp_path / name) for name in ("first", "second"))
    assert list(first) == list(second)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_weights_are_split_into_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "MOST_SHARD_BYTES", 600)
    network = Tied()
    save_weights(network, tmp_path, torch.float32)
    shards = sorted(path.name for path in tmp_path.glob("*.safetensors"))
    assert len(shards) == 3
    assert "second.weight" not in read_weights(tmp_path)
    assert torch.equal(load_weights(Tied, tmp_path).picture.weight, network.picture.weight)
    monkeypatch.undo()
    save_weights(network, tmp_path)
    assert [path.name for path in tmp_path.glob("*.safetensors")] == ["model-00001-of-00001.safetensors"]


def test_every_misfit_is_reported(tmp_path: Path) -> None:
    save_weights(nn.ModuleDict({"first": nn.Linear(4, 8), "other": nn.Linear(2, 2)}), tmp_path)
    with pytest.raises(WeightsError) as caught:
        load_weights(Tied, tmp_path)
    message = str(caught.value)
    assert "4 missing (mean, second.bias, picture.weight, picture.bias)" in message
    assert "2 not expected (other.bias, other.weight)" in message
    assert "1 of another shape (first.weight is (8, 4), expected (8, 8))" in message


def test_damaged_and_absent_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no weights in"):
        read_weights(tmp_path)
    save_weights(Tied(), tmp_path)
    shard = tmp_path / "model-00001-of-00001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=shard.name):
        read_weights(tmp_path)
    shard.unlink()
    with pytest.raises(WeightsError, match=shard.name):
        read_weights(tmp_path)


def test_weights_are_compared_before_one_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_weights(Tied(16), tmp_path)
    fit = fit_weights(Tied, tmp_path)
    monkeypatch.setattr(weights, "safe_open", None)
    with pytest.raises(WeightsError, match="6 of another shape"):
        load_weights(Tied, tmp_path)
    assert (sum(fit.counts.values()), list(fit.counts)) == (6, ["F16"])
    assert len(fit.misshapen) == 6
    assert not fit.missing + fit.left_over + fit.mistyped


def test_stored_names_may_be_translated_or_passed_over(tmp_path: Path) -> None:
    linear = nn.Linear(4, 4)
    save_weights(nn.ModuleDict({"net": linear, "head": nn.Linear(4, 2)}), tmp_path, torch.float32)

    def rename(name: str) -> str | None:
        return name.removeprefix("net.") if name.startswith("net.") else None

    fit = fit_weights(lambda: nn.Linear(4, 4), tmp_path, rename)
    assert (fit.unused, fit.nbytes, fit.faults) == (2, 80, {})
    loaded = load_weights(lambda: nn.Linear(4, 4), tmp_path, rename=rename)
    assert torch.equal(loaded.weight, linear.weight)


def test_whole_numbers_are_not_taken_for_weights(tmp_path: Path) -> None:
    state = {"a.weight": torch.ones(4, 4, dtype=torch.int8), "a.bias": torch.ones(4)}
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"1 of another type \(a\.weight is I8, expected BF16 or F16"):
        load_weights(lambda: nn.ModuleDict({"a": nn.Linear(4, 4)}), tmp_path)


def test_weights_of_the_right_type_stay_in_their_file_and_may_be_changed(tmp_path: Path) -> None:
    network = Tied()
    save_weights(network, tmp_path, torch.float32)
    stored = (tmp_path / "model-00001-of-00001.safetensors").read_bytes()
    with torch.no_grad():
        load_weights(Tied, tmp_path).first.weight.zero_()
    assert (tmp_path / "model-00001-of-00001.safetensors").read_bytes() == stored
    assert torch.equal(load_weights(Tied, tmp_path).first.weight, network.first.weight)
