"""The order of clips: everything once, mixed, in batches that fit, and never twice by two processes."""

import numpy as np
import pytest

from enliven.data.manifest import Manifest, read_manifest
from enliven.data.order import Order, Process, drawn
from enliven.data.shards import ShardWriter
from enliven.errors import ConfigError
from shard_folders import numbered_clip, write_shards


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """41 clips of one kind, four in each shard."""
    return read_manifest(write_shards(tmp_path_factory.mktemp("plain"), 41))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Three kinds: 20, 11 and 1 of them, one after the other."""
    folder = tmp_path_factory.mktemp("mixed")
    with ShardWriter(folder, shard_bytes=8000) as writer:
        for number in range(32):
            kind = {"latents": 4} if number < 20 else {"latents": 6} if number < 31 else {"width": 4}
            writer.add(numbered_clip(number, **kind), "film", number)
    return read_manifest(folder)


def test_every_clip_comes_once_in_an_epoch(plain: Manifest) -> None:
    order = Order(size=1)
    assert sorted(order.batches(plain, 0).flatten().tolist()) == list(range(41))


def test_epochs_and_seeds_have_orders_of_their_own(plain: Manifest) -> None:
    orders = [Order(8, seed, 4).batches(plain, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert not any(np.array_equal(orders[0], other) for other in orders[1:])
    assert np.array_equal(orders[0], Order(8, 0, 4).batches(plain, 0))


def test_clips_are_mixed_within_a_window_of_shards(plain: Manifest) -> None:
    shards = plain.groups("shard")
    seen = shards[Order(1, 0, window=3).batches(plain, 0).flatten()].tolist()
    shown = list(dict.fromkeys(seen))
    assert len(shown) > 9
    assert shown != sorted(shown)
    windows = [shown.index(shard) // 3 for shard in seen]
    assert windows == sorted(windows)  # while the clips of a window come, only its shards are read
    assert (np.diff(seen[:8]) != 0).sum() > 3


def test_batches_are_of_one_kind_and_leave_nothing_out(mixed: Manifest) -> None:
    batches = Order(size=4).batches(mixed, 0)
    kinds = mixed.groups("latents", "width")
    assert all(len(np.unique(kinds[batch])) == 1 for batch in batches)
    assert set(batches.flatten().tolist()) == set(range(32))
    assert batches.shape == (5 + 3 + 1, 4)
    assert len(np.unique(batches[(batches == 31).any(axis=1)])) == 1  # the only one of its kind, four times


def test_kinds_are_mixed_in_time(mixed: Manifest) -> None:
    kinds = mixed.groups("latents", "width")
    turns = [kinds[batch[0]] for batch in Order(size=4).batches(mixed, 1)]
    assert (np.diff(turns) != 0).sum() > 2


@pytest.mark.parametrize("count", [2, 5, 41])
def test_processes_share_an_epoch_without_overlap(plain: Manifest, count: int) -> None:
    parts = [Order(1, 3).batches(plain, 2, Process(rank, count)).flatten().tolist() for rank in range(count)]
    assert sorted(index for part in parts for index in part) == list(range(41))
    if count <= 10:
        shards = plain.groups("shard")
        owners = [set(shards[part].tolist()) for part in parts]
        assert sum(map(len, owners)) == len(set(shards.tolist()))


def test_too_many_processes_are_refused(plain: Manifest) -> None:
    with pytest.raises(ConfigError, match="41 clips are too few for 50 processes"):
        Order().batches(plain, 0, Process(45, 50))


@pytest.mark.parametrize("wrong", [{"size": 0}, {"window": 0}])
def test_orders_that_are_none_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="batches of"):
        Order(**wrong)


def test_sources_come_as_often_as_their_shares() -> None:
    picks = [drawn([3.0, 0.0, 1.0], 7, step) for step in range(2000)]
    assert picks.count(1) == 0
    assert picks.count(0) / 2000 == pytest.approx(0.75, abs=0.03)
    assert picks == [drawn([3.0, 0.0, 1.0], 7, step) for step in range(2000)]
