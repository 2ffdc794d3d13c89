"""Clips go into tar files and come out again, each by its place."""

import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load

from enliven.data.encoded import Heads
from enliven.data.manifest import read_manifest
from enliven.data.shards import ShardReader, ShardWriter
from enliven.errors import ConfigError, MediaError
from shard_folders import numbered_clip, write_shards


def test_a_clip_comes_out_as_it_went_in(tmp_path: Path) -> None:
    clip = replace(numbered_clip(3, people=2), heads=Heads(torch.tensor([[0, 0, 4, 4], [0, 4, 4, 8]]), (16, 16)))
    with ShardWriter(tmp_path) as writer:
        writer.add(numbered_clip(1), "a.mp4", 0)
        writer.add(clip, "a.mp4", 13)
    manifest = read_manifest(tmp_path)
    row = manifest.row(1)
    found = ShardReader(tmp_path).read(row)
    assert (found.caption, found.silent, found.heads.size) == (clip.caption, clip.silent, (16, 16))
    for name in ("latents", "references", "reference_frames", "audio", "mouth"):
        torch.testing.assert_close(getattr(found, name), getattr(clip, name))
    assert torch.equal(found.heads.boxes, clip.heads.boxes)
    assert found.heads.whole is False
    assert (row.people, row.latents, row.height, row.width, row.features) == (2, 4, 2, 2, 13)
    assert (row.source, row.start, row.caption) == ("a.mp4", 13, "caption 3")


def test_shards_are_ordinary_tar_files(tmp_path: Path) -> None:
    write_shards(tmp_path, 12)
    paths = sorted(tmp_path.glob("*.tar"))
    assert len(paths) > 2
    names, numbers = [], []
    for path in paths:
        with tarfile.open(path) as tar:
            for entry in tar:
                names.append(entry.name)
                numbers.append(float(load(tar.extractfile(entry).read())["latents"][0, 0, 0, 0]))
    assert numbers == list(range(12))
    assert [name.removesuffix(".safetensors") for name in names] == read_manifest(tmp_path).column("key").tolist()
    assert not any("." in name.removesuffix(".safetensors") for name in names)  # a dot would end a key of WebDataset


def test_what_is_not_finished_does_not_count_and_is_written_anew(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path)
    writer.add(numbered_clip(0), "a", 0)
    assert len(read_manifest(tmp_path)) == 0
    writer.tar.fileobj.close()  # as when the process is killed
    write_shards(tmp_path, 1)
    assert len(read_manifest(tmp_path)) == 1
    write_shards(tmp_path, 1)
    assert sorted(path.stem for path in tmp_path.glob("*.tar")) == ["shard_000_00000", "shard_000_00001"]


def test_processes_do_not_touch_each_others_shards(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, rank=0) as first, ShardWriter(tmp_path, rank=1) as second:
        first.add(numbered_clip(0), "a", 0)
        second.add(numbered_clip(1), "b", 0)
    manifest, reader = read_manifest(tmp_path), ShardReader(tmp_path)
    assert [float(reader.read(manifest.row(index)).latents[0, 0, 0, 0]) for index in range(2)] == [0, 1]


def test_one_process_alone_writes_as_each_rank(tmp_path: Path) -> None:
    with ShardWriter(tmp_path) as first:
        first.add(numbered_clip(0), "a", 0)
        with pytest.raises(ConfigError, match=r"part 0 of the shards in .* is being written already"):
            ShardWriter(tmp_path).__enter__()
    write_shards(tmp_path, 1)
    assert len(read_manifest(tmp_path)) == 2


@pytest.mark.parametrize("where", [0, 600, -1])
def test_one_wrong_byte_is_noticed(where: int, tmp_path: Path) -> None:
    write_shards(tmp_path, 2)
    row = read_manifest(tmp_path).row(0)
    path = tmp_path / row.shard
    data = bytearray(path.read_bytes())
    data[row.offset + where % row.size] ^= 1
    path.write_bytes(data)
    with pytest.raises(MediaError, match="is damaged"):
        ShardReader(tmp_path).read(row)
    assert ShardReader(tmp_path).read(read_manifest(tmp_path).row(1)).caption == "caption 1"


def test_a_shard_that_is_gone_is_told(tmp_path: Path) -> None:
    write_shards(tmp_path, 1)
    (path,) = tmp_path.glob("*.tar")
    path.unlink()
    with pytest.raises(MediaError, match=r"shard_000_00000\.tar cannot be read"):
        ShardReader(tmp_path).read(read_manifest(tmp_path).row(0))


def test_a_manifest_names_no_file_elsewhere(tmp_path: Path) -> None:
    """The file is there, and its bytes are those of a clip."""
    write_shards(tmp_path, 1)
    row = read_manifest(tmp_path).row(0)
    (tmp_path / "inside").mkdir()
    for name in (f"../{row.shard}", str(tmp_path / row.shard)):
        with pytest.raises(MediaError, match="is no file in"):
            ShardReader(tmp_path / "inside").read(replace(row, shard=name))


def test_many_shards_are_read_with_few_of_them_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("enliven.data.shards.MOST_OPEN", 2)
    manifest, reader = read_manifest(write_shards(tmp_path, 8, shard_bytes=1)), ShardReader(tmp_path)
    for index in [*range(8), *range(8)]:
        assert reader.read(manifest.row(index)).caption == f"caption {index}"
        assert len(reader.open) <= 2
    reader.close()
    assert not reader.open
