"""Epochs go on in any number of processes, and every clip still comes once in each."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from enliven.data.epochs import Epochs
from enliven.data.manifest import read_manifest
from enliven.data.order import Order, Process
from enliven.data.shards import ShardWriter
from enliven.errors import ConfigError
from shard_folders import numbered_clip, write_shards

CLIPS = 41
ORDER = Order(size=1, seed=5, window=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """41 clips of one kind, four in each shard."""
    return write_shards(tmp_path_factory.mktemp("clips"), CLIPS)


def begun(folder: Path, count: int, order: Order = ORDER) -> list[Epochs]:
    manifest = read_manifest(folder)
    return [Epochs(folder, manifest, order, Process(rank, count)) for rank in range(count)]


def gone_on(folder: Path, count: int, before: Sequence[Epochs], order: Order = ORDER) -> list[Epochs]:
    """So many processes, from where those before have stopped."""
    places: list[dict[str, Any]] = json.loads(json.dumps([each.state() for each in before]))
    made = begun(folder, count, order)
    for each in made:
        assert all(each.has(place) for place in places)
        each.restore(places)
    return made


def drawn(processes: Sequence[Epochs], count: int) -> list[int]:
    """The rows of the next batches of every process."""
    return [row for _ in range(count) for each in processes for row in each.next_batch()]


def rest(processes: Sequence[Epochs]) -> list[int]:
    """The rows of what every process has left of its epoch."""
    return [row for each in processes for _ in range(len(each.batches) - each.batch) for row in each.next_batch()]


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 3), (3, 2), (1, 20)])
def test_another_number_of_processes_sees_what_is_left_of_the_epoch_and_nothing_else(
    folder: Path, before: int, after: int
) -> None:
    first = begun(folder, before)
    seen = drawn(first, 12 // before)
    second = gone_on(folder, after, first)
    shares = [rest([each]) for each in second]
    assert max(map(len, shares)) < CLIPS - 12 or after == 1
    assert sorted(seen + [row for share in shares for row in share]) == list(range(CLIPS))
    assert {each.epoch for each in second} == {0}
    assert [each.next_batch() for each in second] == [each.next_batch() for each in epoch_one(folder, after)]


def epoch_one(folder: Path, count: int) -> list[Epochs]:
    """Processes that never were others, at the beginning of their second epoch."""
    made = begun(folder, count)
    rest(made)
    return made


def test_as_many_processes_go_on_exactly_also_within_what_was_dealt(folder: Path) -> None:
    first = begun(folder, 2)
    drawn(first, 5)
    for count, before in ((2, first), (3, first), (3, gone_on(folder, 3, first))):
        processes = gone_on(folder, count, before)
        drawn(processes, 4)
        again = gone_on(folder, count, processes)
        assert [drawn([each], 40) for each in processes] == [drawn([each], 40) for each in again]
        assert min(each.epoch for each in again) > 0


def test_the_number_may_change_again_and_again_within_an_epoch(folder: Path) -> None:
    processes, seen = begun(folder, 1), list[int]()
    for count, batches in ((2, 5), (3, 3), (1, 4), (4, 2)):
        processes = gone_on(folder, count, processes)
        seen += drawn(processes, batches)
    assert len(seen) == 31
    assert sorted(seen + rest(gone_on(folder, 2, processes))) == list(range(CLIPS))


def shared_unevenly(folder: Path, draws: int) -> list[Epochs]:
    """Two processes, of which one comes to the end of its epochs sooner, for shards are not halved."""
    with ShardWriter(folder, rank=1, shard_bytes=5000) as writer:
        for number in range(36):
            writer.add(numbered_clip(number), "film", number)
    first = begun(folder, 2)
    assert [len(each.batches) for each in first] == [20, 16]
    drawn(first, draws)
    return first


@pytest.mark.parametrize(("draws", "epochs"), [(18, [0, 1]), (150, [7, 9])])
def test_what_some_had_begun_of_later_epochs_is_not_seen_again_in_them(
    tmp_path: Path, draws: int, epochs: list[int]
) -> None:
    first = shared_unevenly(tmp_path, draws)
    assert [each.epoch for each in first] == epochs
    second = gone_on(tmp_path, 3, first)
    assert {each.epoch for each in second} == {epochs[0]}
    seen = drawn(second, 1)
    (third,) = gone_on(tmp_path, 1, second)
    while (third.epoch, third.batch) < (epochs[1], len(third.batches)):
        seen += drawn([third], 1)
    before = Counter(row for each in begun(tmp_path, 2) for row in drawn([each], draws))
    assert before + Counter(seen) == dict.fromkeys(range(36), epochs[1] + 1)


@pytest.mark.parametrize("left", [0, 1])
def test_where_less_is_left_than_there_are_processes_the_others_begin_the_next_epoch(folder: Path, left: int) -> None:
    first = begun(folder, 1)
    seen = drawn(first, CLIPS - left)
    second = gone_on(folder, 3, first)
    assert sorted(len(each.batches) for each in second) == [0] * (3 - left) + [1] * left
    again = gone_on(folder, 3, second)
    assert sorted(seen + rest(second)) == list(range(CLIPS))
    rest(again)
    drawn(again, 1)
    assert {each.epoch for each in again} == {1}
    assert sum(len(each.batches) for each in again) == CLIPS


def test_a_process_to_which_nothing_is_dealt_in_two_epochs_begins_the_third(tmp_path: Path) -> None:
    second = gone_on(tmp_path, 36, shared_unevenly(tmp_path, 19))
    drawn(second, 1)
    assert Counter(each.epoch for each in second) == {0: 1, 1: 32, 2: 3}


def test_only_clips_that_fill_a_batch_come_twice(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, shard_bytes=8000) as writer:
        for number in range(32):
            writer.add(numbered_clip(number, latents=4 if number < 20 else 6), "film", number)
    order = Order(size=3, seed=1)
    first = begun(tmp_path, 2, order)
    seen = drawn(first, 2)
    after = rest(gone_on(tmp_path, 1, first, order))
    assert not set(seen) & set(after)
    assert set(seen) | set(after) == set(range(32))
    assert len(after) - len(set(after)) < 2 * order.size  # of each kind one batch


def test_what_is_encoded_meanwhile_waits_for_the_next_epoch(tmp_path: Path) -> None:
    first = begun(write_shards(tmp_path, 20), 2)
    seen = [first[0].shown.row(row).key for row in drawn(first, 4)]
    with ShardWriter(tmp_path, rank=1) as writer:
        for number in range(4):
            writer.add(numbered_clip(20 + number), "another film", number)
    (second,) = gone_on(tmp_path, 1, first)
    seen += [second.shown.row(row).key for row in rest([second])]
    assert len(seen) == len(set(seen)) == 20
    drawn([second], 1)
    assert len(second.batches) == 24


def test_it_waits_until_the_processes_stand_in_one_epoch_again(tmp_path: Path) -> None:
    first = shared_unevenly(tmp_path, 18)
    with ShardWriter(tmp_path, rank=0) as writer:  # stands before the others
        writer.add(numbered_clip(36), "another film", 0)
    (second,) = gone_on(tmp_path, 1, first)
    seen: dict[int, list[str]] = {}
    while second.epoch < 3:
        (row,) = second.next_batch()
        seen.setdefault(second.epoch, []).append(second.shown.row(row).shard[:9])
    assert [Counter(seen[epoch]) for epoch in range(3)] == [
        {"shard_001": 2},
        {"shard_001": 36 - 2},
        {"shard_000": 1, "shard_001": 36},
    ]


def test_a_place_among_other_clips_is_told(folder: Path, tmp_path: Path) -> None:
    place = begun(folder, 1)[0].state()
    (other,) = begun(write_shards(tmp_path, CLIPS, width=3), 1)
    assert not other.has(place)
    with pytest.raises(ConfigError, match="no shards of clips"):
        begun(tmp_path / "none", 1)
