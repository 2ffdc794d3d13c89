"""What is said about files of weights that are not what they should be."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from enliven.errors import WeightsError
from enliven.models.stored import read_headers, weight_files

STATE = {"a": torch.zeros(3, 4), "b": torch.zeros(5, dtype=torch.bfloat16), "c": torch.zeros(2, dtype=torch.int8)}


def shards(folder: Path) -> list[Path]:
    """Two files and their index."""
    save_file({"a": STATE["a"]}, folder / "w-00001-of-00002.safetensors")
    save_file({"b": STATE["b"], "c": STATE["c"]}, folder / "w-00002-of-00002.safetensors", {"format": "pt"})
    names = {"a": "w-00001-of-00002.safetensors", "b": "w-00002-of-00002.safetensors"}
    (folder / "w.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    return sorted(folder.glob("*.safetensors"))


def test_headers_tell_shapes_types_and_sizes(tmp_path: Path) -> None:
    files = shards(tmp_path)
    assert weight_files(tmp_path) == files
    stored = read_headers(files)
    assert {name: (entry.shape, entry.dtype, entry.nbytes, entry.path) for name, entry in stored.items()} == {
        "a": ((3, 4), "F32", 48, files[0]),
        "b": ((5,), "BF16", 10, files[1]),
        "c": ((2,), "I8", 2, files[1]),
    }


def test_files_beside_the_index_are_not_weights_of_the_network(tmp_path: Path) -> None:
    files = shards(tmp_path)
    save_file(STATE, tmp_path / "another.safetensors")
    assert weight_files(tmp_path) == files


def test_a_whole_file_is_preferred_to_its_pieces(tmp_path: Path) -> None:
    for name in ("model.safetensors", "model.fp32-00001-of-00001.safetensors"):
        save_file(STATE, tmp_path / name)
    assert weight_files(tmp_path) == [tmp_path / "model.safetensors"]


def test_a_name_in_two_files_is_refused(tmp_path: Path) -> None:
    for name in ("one.safetensors", "two.safetensors"):
        save_file({"a": STATE["a"]}, tmp_path / name)
    with pytest.raises(WeightsError, match=r"a is in both one\.safetensors and two\.safetensors"):
        read_headers(weight_files(tmp_path))


def test_every_missing_file_is_named(tmp_path: Path) -> None:
    for path in shards(tmp_path):
        path.unlink()
    with pytest.raises(WeightsError, match=r"2 of 2 files .* w-00001-of-00002\.safetensors, w-00002-of") as caught:
        weight_files(tmp_path)
    assert "finish the download" in caught.value.hint


@pytest.mark.parametrize("length", [0, 5, 30, 100, -1])
def test_a_file_cut_short_is_said_to_be(tmp_path: Path, length: int) -> None:
    path = tmp_path / "model.safetensors"
    save_file(STATE, path)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(WeightsError, match=r"model\.safetensors is cut short"):
        read_headers([path])


@pytest.mark.parametrize(
    ("content", "said", "advice"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git-lfs pointer", "git lfs pull"),
        (
            b"PK\x03\x04 an archive of pickles",
            "is a pickle",
            "rename it to pytorch_model.bin, then: enliven",
        ),
        (b"\x80\x02}q\x00. an older pickle", "is a pickle", "enliven models convert"),
        (b"<!DOCTYPE html><html>", "a web page", "login"),
        (b"\x10\0\0\0\0\0\0\0{not json at all}", "cannot read", "fetch it again"),
        (b'\x0b\0\0\0\0\0\0\0{"a": null}', "cannot read", "fetch it again"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, content: bytes, said: str, advice: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=said) as caught:
        read_headers([path])
    assert path.name in str(caught.value)
    assert advice in caught.value.hint


def test_a_header_as_long_as_the_letter_of_a_web_page_is_read(tmp_path: Path) -> None:
    """Its first byte, 60, is that of a web page."""
    path = tmp_path / "model.safetensors"
    header = json.dumps({"a": {"dtype": "I8", "shape": [2], "data_offsets": [0, 2]}}).encode().ljust(60)
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    assert len(header) == 60
    assert read_headers([path])["a"].shape == (2,)


def test_pickles_are_refused_with_the_command_that_converts_them(tmp_path: Path) -> None:
    folder = tmp_path / "my ears"
    folder.mkdir()
    for name in ("fairseq-checkpoint.pt", "pytorch_model.bin"):
        (folder / name).write_bytes(b"PK\x03\x04")
    with pytest.raises(WeightsError) as caught:
        weight_files(folder)
    assert str(caught.value) == f"{folder / 'pytorch_model.bin'} is a pickle; only safetensors are read"
    assert caught.value.hint == f"convert it: enliven models convert '{folder}'"


def test_an_absent_folder_is_said_to_be_absent(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no folder"):
        weight_files(tmp_path / "vae")
