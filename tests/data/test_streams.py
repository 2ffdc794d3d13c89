"""Streams of clips: mixed, endless, and the same after a stop."""

import json
import logging
from pathlib import Path

import pytest

from enliven.data.manifest import read_manifest
from enliven.data.order import Order, Process
from enliven.data.shards import ShardWriter
from enliven.data.streams import ClipStream
from enliven.errors import ConfigError, MediaError
from shard_folders import numbered_clip, write_shards


@pytest.fixture
def folders(tmp_path: Path) -> list[tuple[float, Path]]:
    return [(0.75, write_shards(tmp_path / "a", 10)), (0.25, write_shards(tmp_path / "b", 6, width=4))]


def keys(stream: ClipStream, count: int) -> list[tuple[str, ...]]:
    return [next(stream)[0] for _ in range(count)]


def test_batches_come_from_every_folder_and_fit(folders: list[tuple[float, Path]]) -> None:
    stream = ClipStream(folders, Order(size=3))
    widths = []
    for _ in range(60):
        _, clips = next(stream)
        assert len({clip.latents.shape for clip in clips}) == 1
        widths.append(clips[0].latents.shape[-1])
    assert 35 <= widths.count(2) <= 55
    assert stream.folders[0].epoch > 5


@pytest.mark.parametrize("before", [0, 1, 37])
def test_a_stream_goes_on_exactly_where_it_stopped(folders: list[tuple[float, Path]], before: int) -> None:
    order = Order(size=3, seed=5, window=2)
    first = ClipStream(folders, order)
    keys(first, before)
    kept = json.loads(json.dumps(first.state()))
    expected = keys(first, 25)
    second = ClipStream(folders, order)
    second.restore(kept)
    assert keys(second, 25) == expected
    assert second.state() == first.state()
    first.restore(kept)
    assert keys(first, 25) == expected


def test_a_state_of_anything_else_is_refused(folders: list[tuple[float, Path]], tmp_path: Path) -> None:
    kept = ClipStream(folders).state()
    for told, other in [
        ("order", ClipStream(folders, Order(size=2))),
        ("shares", ClipStream([(1.0, folders[0][1]), folders[1]])),
        ("data", ClipStream([(0.75, write_shards(tmp_path / "c", 10, width=3)), folders[1]])),
        ("data", ClipStream([(0.75, write_shards(tmp_path / "d", 4)), folders[1]])),
    ]:
        with pytest.raises(ConfigError, match=f"other {told}"):
            other.restore(kept)


def test_the_state_of_one_process_of_several_is_refused_and_so_are_states_in_another_order(
    folders: list[tuple[float, Path]],
) -> None:
    kept = [ClipStream(folders, process=Process(rank, 2)).state() for rank in range(2)]
    for some in (kept[:1], kept[::-1]):
        with pytest.raises(ConfigError, match="other process"):
            ClipStream(folders).restore(*some)


def test_each_of_several_processes_goes_on_from_its_own_step(folders: list[tuple[float, Path]]) -> None:
    first, second = ([ClipStream(folders, Order(size=1), Process(rank, 2)) for rank in range(2)] for _ in range(2))
    for stream, count in zip(first, (5, 9), strict=True):
        keys(stream, count)
    kept = [stream.state() for stream in first]
    for stream in second:
        stream.restore(*kept)
    assert [keys(stream, 25) for stream in second] == [keys(stream, 25) for stream in first]


def test_other_data_is_refused_in_another_number_of_processes_too(
    folders: list[tuple[float, Path]], tmp_path: Path
) -> None:
    kept = [ClipStream(folders, process=Process(rank, 2)).state() for rank in range(2)]
    other = ClipStream([folders[0], (0.25, write_shards(tmp_path / "e", 6, width=3))])
    with pytest.raises(ConfigError, match="other data"):
        other.restore(*kept)


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 3)])
def test_mixed_folders_go_on_in_another_number_of_processes(
    folders: list[tuple[float, Path]], before: int, after: int
) -> None:
    """Each folder has a place of its own, and each of its clips comes once in the epoch."""
    order = Order(size=1, seed=2)
    first = [ClipStream(folders, order, Process(rank, before)) for rank in range(before)]
    seen = [number for stream in first for number in first_epoch(stream, 4 + stream.process.rank)]
    assert len({width for width, _ in seen}) == 2
    kept = [json.loads(json.dumps(stream.state() | {"faults": 7})) for stream in first]
    second = [ClipStream(folders, order, Process(rank, after)) for rank in range(after)]
    for stream in second:
        stream.restore(*kept)
    assert {stream.step for stream in second} == {4 + before - 1}  # no chance is drawn twice
    assert sum(stream.faults for stream in second) == 7 * before
    seen += [number for stream in second for number in first_epoch(stream, 200)]
    assert sorted(seen) == [(2, number) for number in range(10)] + [(4, number) for number in range(6)]


def first_epoch(stream: ClipStream, count: int) -> list[tuple[int, int]]:
    """Of the next batches the widths and numbers of those clips that come in the first epoch of their folder."""
    found = []
    for _ in range(count):
        (clip,) = next(stream)[1]
        width = clip.latents.shape[-1]
        if stream.folders[width // 2 - 1].epoch == 0:
            found.append((width, int(clip.latents[0, 0, 0, 0])))
    return found


def test_what_is_encoded_meanwhile_joins_when_the_epoch_ends(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, order = write_shards(tmp_path, 10), Order(size=2, seed=5)
    stream = ClipStream([(1.0, folder)], order)
    keys(stream, 7)  # two of the second epoch
    kept, expected = json.loads(json.dumps(stream.state())), keys(stream, 3)
    before = set(read_manifest(folder).column("key"))
    with ShardWriter(folder, rank=1) as writer:
        for number in range(4):
            writer.add(numbered_clip(10 + number), "another film", number)
    again = ClipStream([(1.0, folder)], order)
    with caplog.at_level(logging.INFO):
        again.restore(kept)
    assert "4 clips more" in caplog.text
    seen = keys(again, 1)
    again.restore(json.loads(json.dumps(again.state())))
    assert seen + keys(again, 2) == expected
    whole = {key for batch in keys(again, 7) for key in batch}
    assert whole == set(read_manifest(folder).column("key"))
    assert len(whole - before) == 4


def test_a_bad_clip_is_told_counted_and_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_shards(tmp_path, 6)
    row = read_manifest(folder).row(2)
    path = folder / row.shard
    data = bytearray(path.read_bytes())
    data[row.offset + 900] ^= 1
    path.write_bytes(data)
    stream = ClipStream([(1.0, folder)], Order(size=3))
    with caplog.at_level(logging.WARNING):
        seen = [key for batch in keys(stream, 2) for key in batch]
    assert len(seen) == 6
    assert set(seen) == set(read_manifest(folder).column("key")) - {row.key}
    assert stream.faults == stream.state()["faults"] == 1
    assert row.key in caplog.text


def test_when_nothing_can_be_read_the_stream_gives_up(tmp_path: Path) -> None:
    stream = ClipStream([(1.0, write_shards(tmp_path, 3))])
    for path in tmp_path.glob("*.tar"):
        path.unlink()
    with pytest.raises(MediaError, match="100 batches in a row"):
        next(stream)


def test_folders_without_clips_and_shares_without_sense_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no shards of clips"):
        ClipStream([(1.0, tmp_path)])
    folder = write_shards(tmp_path / "a", 1)
    for shares in ([], [(0.0, folder)], [(-1.0, folder), (2.0, folder)]):
        with pytest.raises(ConfigError, match="shares of sources"):
            ClipStream(shares)
