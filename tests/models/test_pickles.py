"""Pickles of tensors become safetensors; nothing else that is in a pickle is run."""

import os
import resource
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import Wav2Vec2Config

from enliven.errors import StorageError, WeightsError
from enliven.models.audio import Wav2VecEncoder
from enliven.models.pickles import convert_pickles
from enliven.models.weights import load_weights

SMALL = {
    **{"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16},
    **{"conv_dim": (8, 8), "conv_stride": (5, 2), "conv_kernel": (10, 3), "num_feat_extract_layers": 2},
    **{"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "mask_time_prob": 0.0},
}


def ears() -> Wav2VecEncoder:
    return Wav2VecEncoder(Wav2Vec2Config(**SMALL), 25.0)


def test_a_network_is_the_same_afterwards(tmp_path: Path) -> None:
    network = ears()
    torch.save(network.network.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "fairseq.pt").write_bytes(b"another save of the same")
    assert convert_pickles(tmp_path) == [tmp_path / "model.safetensors"]
    loaded = load_weights(ears, tmp_path)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in loaded.state_dict().items())
    assert (tmp_path / "pytorch_model.bin").exists()


def test_views_and_ties_and_several_files_are_written_whole(tmp_path: Path) -> None:
    tied, number = torch.randn(3, 3), torch.tensor(2.0, dtype=torch.bfloat16)
    torch.save({"a": tied, "b": tied, "c": tied.T}, tmp_path / "pytorch_model-00001-of-00002.bin")
    torch.save({"d": number}, tmp_path / "pytorch_model-00002-of-00002.bin", _use_new_zipfile_serialization=False)
    one, two = convert_pickles(tmp_path)
    assert (one.name, two.name) == ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    first = load_file(one)
    assert torch.equal(first["b"], tied)
    assert torch.equal(first["c"], tied.T)
    assert load_file(two)["d"] == number


class Bomb:
    """Runs a command where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_what_a_pickle_would_run_is_not_run(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2), "b": Bomb(tmp_path / "ran")}, tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="cannot be read as tensors alone"):
        convert_pickles(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["pytorch_model.bin"]
    torch.load(tmp_path / "pytorch_model.bin", weights_only=False)
    assert (tmp_path / "ran").is_dir(), "which it would have"


@pytest.mark.parametrize(
    "content",
    [
        [torch.zeros(2)],
        {"a": torch.zeros(2), "step": 3},
        {"model": {}},
        {"a": torch.zeros(3).to_sparse()},
        {"a": torch.zeros(2, device="meta")},
        {"a": torch.zeros(2, dtype=torch.complex64)},
        {"a": torch.zeros(1).expand(10**13)},
    ],
)
def test_what_is_no_tensors_by_name_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="something else than plain tensors by name"):
        convert_pickles(tmp_path)


@pytest.mark.parametrize("zipped", [True, False])
def test_one_that_is_cut_short_anywhere_is_refused(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.randn(4, 4), "b": torch.zeros(3)}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for size in range(0, len(whole) - 20, 7):
        path.write_bytes(whole[:size])
        with pytest.raises(WeightsError, match="cannot be read as tensors alone"):
            convert_pickles(tmp_path)


def test_pickles_that_would_become_one_file_are_several(tmp_path: Path) -> None:
    for name in ("pytorch_model.bin", "pytorch_model.pt"):
        torch.save({name: torch.zeros(1)}, tmp_path / name)
    with pytest.raises(WeightsError, match=r"several pickles: pytorch_model\.bin, pytorch_model\.pt"):
        convert_pickles(tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_nothing_is_written_where_not_all_can_be(tmp_path: Path) -> None:
    """On a disk that has room for the first of two."""
    for number, size in (1, 10), (2, 10_000):
        torch.save({"a": torch.zeros(size)}, tmp_path / f"pytorch_model-{number}.bin")
    before, (limit, most) = sorted(tmp_path.iterdir()), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, most))
    try:
        with pytest.raises(StorageError, match=r"model-2\.safetensors cannot be written: file too large"):
            convert_pickles(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, most))
    assert sorted(tmp_path.iterdir()) == before


def test_folders_in_which_there_is_nothing_to_do_or_too_much(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no pickle in"):
        convert_pickles(tmp_path)
    with pytest.raises(WeightsError, match="there is no folder"):
        convert_pickles(tmp_path / "nothing")
    for name in ("a.pt", "b.pt"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(WeightsError, match=r"several pickles: a\.pt, b\.pt"):
        convert_pickles(tmp_path)
    (tmp_path / "b.pt").unlink()
    with pytest.raises(WeightsError, match=r"a\.pt cannot be read as tensors alone"):
        convert_pickles(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"holds model\.safetensors already"):
        convert_pickles(tmp_path)
