"""What is told of shards is read as it was written."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from enliven.data import manifest
from enliven.data.manifest import Row, read_manifest, write_rows
from enliven.errors import MediaError, MissingExtra

ROW = Row("k", "s.tar", 512, 2**33, 2**32 - 1, "ä, film.mp4", 61, 'a "man"\nwith a hat', True, 2, 16, 8, 12, 61)


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    other = replace(ROW, key="l", silent=False, start=0, people=1)
    write_rows(tmp_path / "b.parquet", [other])
    write_rows(tmp_path / "a.parquet", [ROW, replace(ROW, start=122)])
    found = read_manifest(tmp_path)
    assert [found.row(index) for index in range(len(found))] == [ROW, replace(ROW, start=122), other]
    assert found.column("start").tolist() == [61, 122, 0]
    assert found.starts() == {ROW.source: {61, 122, 0}}


def test_groups_are_of_what_agrees_in_all_columns(tmp_path: Path) -> None:
    rows = [replace(ROW, people=people, latents=latents) for people, latents in [(1, 2), (2, 1), (1, 2), (1, 1)]]
    write_rows(tmp_path / "a.parquet", rows)
    first, second, third, fourth = read_manifest(tmp_path).groups("people", "latents").tolist()
    assert first == third
    assert len({first, second, fourth}) == 3


def test_an_empty_folder_has_no_rows(tmp_path: Path) -> None:
    found = read_manifest(tmp_path)
    assert len(found) == len(found.groups("people", "latents")) == len(found.starts()) == 0


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(MediaError, match=r"a\.parquet is no manifest"):
        read_manifest(tmp_path)


def test_a_table_of_something_else_is_refused(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {name: [value] for name, value in asdict(ROW).items() if name != "checksum"}
    parquet.write_table(arrow.table(columns), tmp_path / "a.parquet")
    with pytest.raises(MediaError, match=r"a\.parquet is no manifest: it does not say checksum of every clip"):
        read_manifest(tmp_path)


def test_without_the_extra_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(manifest.importlib, "import_module", missing)
    with pytest.raises(MissingExtra, match="pyarrow") as caught:
        read_manifest(tmp_path)
    assert "enliven[train]" in caught.value.hint
