"""Tests of crops of generated latents: each number of a clip says whose and when it is, and where."""

from itertools import islice
from pathlib import Path

import pytest
import torch
from torch import Tensor

from encoded_clips import write_clip
from enliven.errors import ConfigError, MediaError
from enliven.train.latent_crops import LatentCrops, find_generated
from shard_folders import write_shards

LATENTS, HEIGHT, WIDTH = 7, 5, 8
COUNT, SIDE = 4, 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two clips, whose channels say the clip, the moment and the place of a cell."""
    for number in range(2):
        axes = torch.arange(float(LATENTS)), torch.arange(float(HEIGHT)), torch.arange(float(WIDTH))
        time, row, column = torch.meshgrid(*axes, indexing="ij")
        write_clip(tmp_path / f"{number}.safetensors", torch.stack([torch.full_like(time, number), time, row, column]))
    return tmp_path


def crops(folder: Path, **changes: int) -> LatentCrops:
    sizes = {"channels": 4, "batch": 2, "count": COUNT, "side": SIDE} | changes
    return LatentCrops(find_generated([folder]), **sizes)


def drawn(batches: LatentCrops, seed: int) -> Tensor:
    torch.manual_seed(seed)
    return next(iter(batches))["latents"]


def test_a_picture_stands_before_moments_that_follow_each_other_in_one_square(folder: Path) -> None:
    torch.manual_seed(0)
    clips, starts, places = set(), set(), set()
    for batch in islice(crops(folder), 60):
        assert batch.keys() == {"latents"}
        for whose, time, row, column in batch["latents"]:
            assert whose.shape == (COUNT, SIDE, SIDE)
            first, start, *later = time[:, 0, 0].tolist()
            assert (first, later) == (0, [start + 1, start + 2])
            assert torch.equal(time, time[:, :1, :1].expand_as(time))
            top, left = int(row[0, 0, 0]), int(column[0, 0, 0])
            assert torch.equal(row[:, :, 0], torch.arange(top, top + SIDE).float().expand(COUNT, -1))
            assert torch.equal(column[:, 0], torch.arange(left, left + SIDE).float().expand(COUNT, -1))
            clips.add(float(whose.unique()))
            starts.add(start)
            places.add((top, left))
    assert (clips, starts) == ({0, 1}, {1, 2, 3, 4})
    assert {top for top, _ in places} == set(range(HEIGHT - SIDE + 1))
    assert {left for _, left in places} == set(range(WIDTH - SIDE + 1))


def test_one_latent_frame_is_the_picture(folder: Path) -> None:
    assert not drawn(crops(folder, count=1), 0)[:, 1].any()


def test_the_same_random_numbers_draw_the_same_also_where_clips_fail(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_clip(folder / "2.safetensors", torch.full((4, 2, HEIGHT, WIDTH), 9.0))
    write_clip(folder / "3.safetensors", torch.full((5, LATENTS, HEIGHT, WIDTH), 9.0))
    (folder / "4.safetensors").write_bytes(b"no clip")
    old = crops(folder)
    for seed in range(12):
        drawn(old, seed)
    assert old.left_out == {2, 3, 4}
    assert f"{folder / '3.safetensors'} is left out: it has 7 latent frames of 5 x 5 x 8" in caplog.text
    assert all(torch.equal(drawn(old, seed), drawn(crops(folder), seed)) for seed in range(8))


@pytest.mark.parametrize("wrong", [{"channels": 5}, {"count": LATENTS + 1}, {"side": HEIGHT + 1}])
def test_clips_that_do_not_fit_are_left_out_and_none_is_told(folder: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(MediaError, match="none of 2 generated clips can be learnt from") as refused:
        drawn(crops(folder, **wrong), 0)
    assert "cells" in refused.value.hint


def test_clips_are_found_in_shards_and_in_files(folder: Path, tmp_path: Path) -> None:
    shards = write_shards(tmp_path / "shards", 3)
    assert len(find_generated([folder, shards])) == 5
    (tmp_path / "empty").mkdir()
    for nothing in ([tmp_path / "empty"], []):
        with pytest.raises(ConfigError, match="no generated clips"):
            find_generated(nothing)
