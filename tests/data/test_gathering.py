"""Shards are filled from many materials; bad ones are told, and a stop loses little."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from enliven.data.encoded import EncodedClip
from enliven.data.gathering import Material, gather
from enliven.data.manifest import read_manifest
from enliven.data.order import Process
from enliven.errors import MediaError, StorageError
from enliven.types import Progress
from shard_folders import numbered_clip

Made = Iterator[tuple[int, EncodedClip]]


class Films:
    """Materials of three clips each, which say what was asked of them."""

    def __init__(self, *names: str, bad: str = "", stop: str = "") -> None:
        self.names, self.bad, self.stop = names, bad, stop
        self.made: list[tuple[str, int]] = []

    def materials(self) -> list[Material]:
        """All of them."""
        return [Material(name, lambda made, name=name: self.clips(name, made)) for name in self.names]

    def clips(self, name: str, made: frozenset[int]) -> Made:
        """The clips of one, the second of them bad or the end of the process."""
        for start in (0, 13, 26):
            if start == 13 and name == self.bad:
                raise MediaError(f"{name} is torn", hint="mend it")
            if start == 13 and name == self.stop:
                raise KeyboardInterrupt
            if start not in made:
                self.made.append((name, start))
                yield start, numbered_clip(start)


def clips_in(folder: Path) -> list[tuple[str, int]]:
    manifest = read_manifest(folder)
    return [(manifest.row(index).source, manifest.row(index).start) for index in range(len(manifest))]


def test_bad_materials_are_told_and_stop_nothing(tmp_path: Path) -> None:
    told: list[Progress] = []
    found = gather(tmp_path, Films("a", "b", "c", bad="b").materials(), told.append)
    assert found.clips == 7
    assert found.faults == {"b": "b is torn; mend it"}
    assert clips_in(tmp_path) == [(name, start) for name in "abc" for start in (0, 13, 26)[: 1 if name == "b" else 3]]
    assert [(each.done, each.total) for each in told] == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_a_second_call_makes_what_is_missing_alone(tmp_path: Path) -> None:
    gather(tmp_path, Films("a", "b", bad="b").materials())
    mended = Films("a", "b", "c")
    found = gather(tmp_path, mended.materials())
    assert mended.made == [("b", 13), ("b", 26), ("c", 0), ("c", 13), ("c", 26)]
    assert (found.clips, found.before, found.faults) == (5, 1, {})
    assert sorted(clips_in(tmp_path)) == [(name, start) for name in "abc" for start in (0, 13, 26)]


def at(films: Films, digest: str) -> list[Material]:
    return [replace(each, digest=lambda: digest) for each in films.materials()]


def test_who_was_changed_since_is_told_of_and_keeps_clips(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert gather(tmp_path, at(Films("a"), "1")).clips == 3
    assert gather(tmp_path, at(Films("a"), "1")).changed == []
    found = gather(tmp_path, at(Films("a"), "2"))
    assert (found.clips, found.before, found.changed) == (0, 1, ["a"])
    assert "a was changed since" in caplog.text
    assert len(clips_in(tmp_path)) == 3


def test_who_is_mended_half_way_is_told_of_once_and_gives_the_rest(tmp_path: Path) -> None:
    assert gather(tmp_path, at(Films("a", bad="a"), "1")).clips == 1
    mended = Films("a")
    found = gather(tmp_path, at(mended, "2"))
    assert (found.clips, found.changed) == (2, ["a"])
    assert mended.made == [("a", 13), ("a", 26)]
    found = gather(tmp_path, at(mended, "2"), process=Process(0, 1))
    assert (found.before, found.changed) == (1, [])


def test_who_cannot_be_looked_at_is_one_bad_material(tmp_path: Path) -> None:
    def unreadable() -> str:
        raise OSError("the name is too long")

    one, other = Films("a", "b").materials()
    found = gather(tmp_path, [replace(one, digest=unreadable), other])
    assert (found.clips, found.faults) == (3, {"a": "the name is too long"})
    gather(tmp_path, [one, other])
    found = gather(tmp_path, [replace(one, digest=unreadable), other])
    assert (found.before, found.faults) == (2, {}), "its clips are there"


def test_a_material_that_was_noted_without_a_clip_is_not_done(tmp_path: Path) -> None:
    (tmp_path / "gathered_000.jsonl").write_text('{"name": "a", "clips": 0}\n')
    found = gather(tmp_path, Films("a").materials())
    assert (found.clips, found.before) == (3, 0)
    assert gather(tmp_path, Films("a").materials()).before == 1


def test_what_was_made_before_a_stop_stays(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        gather(tmp_path, Films("a", "b", stop="b").materials())
    assert clips_in(tmp_path) == [("a", 0), ("a", 13), ("a", 26), ("b", 0)]
    again = Films("a", "b")
    gather(tmp_path, again.materials())
    assert again.made == [("b", 13), ("b", 26)]


def test_a_lost_shard_is_made_again(tmp_path: Path) -> None:
    gather(tmp_path, Films("a", "b").materials(), shard_bytes=1)
    next(iter(sorted(tmp_path.glob("*.parquet")))).unlink()
    again = Films("a", "b")
    gather(tmp_path, again.materials())
    assert again.made == [("a", 0)]


def test_processes_share_the_materials_and_any_number_goes_on(tmp_path: Path) -> None:
    names = [f"film {number}" for number in range(5)]
    parts = [Films(*names) for _ in range(2)]
    for rank, films in enumerate(parts):
        gather(tmp_path, films.materials(), process=Process(rank, 2))
    assert not {name for name, _ in parts[0].made} & {name for name, _ in parts[1].made}
    assert sorted(clips_in(tmp_path)) == [(name, start) for name in names for start in (0, 13, 26)]
    alone = Films(*names)
    assert gather(tmp_path, alone.materials()).before == 5
    assert not alone.made


def test_a_full_disk_is_no_bad_file(tmp_path: Path) -> None:
    def refuse(_: frozenset[int]) -> Made:
        raise StorageError("the disk is full")
        yield

    with pytest.raises(StorageError):
        gather(tmp_path, [Material("a", refuse)])
