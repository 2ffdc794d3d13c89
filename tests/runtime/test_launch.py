"""Who speaks, of several processes that fail."""

import os
import time
from itertools import count
from pathlib import Path

import pytest

from enliven.errors import RequestError
from enliven.runtime.launch import failing, from_first, leads, meeting_place, process_count, process_rank
from several_processes import run_together


def in_each_process(folder: Path) -> None:
    rank, told = os.environ["RANK"], folder / "told"
    meeting_place()  # is in the first process here, which must not wait before
    while rank == "0" and not told.exists():  # the first process is not always the first that fails
        time.sleep(0.02)
    with failing() as speaks:
        if speaks:
            told.touch()
    assert told.exists(), "who is silent waits until the other has spoken, or its launcher would end both"
    (folder / rank).write_text(f"{process_count()} {leads()} {speaks}")


def test_of_three_processes_that_fail_one_speaks(tmp_path: Path) -> None:
    run_together(3, in_each_process, tmp_path)
    told = [(tmp_path / str(rank)).read_text() for rank in range(3)]
    assert told[0] == "3 True False"
    assert sorted(told[1:]) == ["3 False False", "3 False True"]


def outlive_the_first(folder: Path) -> None:
    with failing():
        if not leads():
            (folder / str(process_rank())).touch()
            time.sleep(1)  # while the first, in which they meet, ends
            with pytest.raises(RuntimeError):  # as a wait is broken off by its end; what is sent after that raises
                meeting_place().get("what nobody sets")
    while leads() and len(list(folder.iterdir())) < 2:
        time.sleep(0.02)


def test_who_ends_after_the_first_ends_well(tmp_path: Path) -> None:
    run_together(3, outlive_the_first, tmp_path)


def refuse() -> None:
    raise RequestError("of the first" if leads() else "of another", hint="ask the first")


def ask_the_first(folder: Path) -> None:
    numbers = count(10 * process_rank())
    found = [from_first(lambda: (Path(f"found by {process_rank()}"), next(numbers))) for _ in range(3)]
    assert found == [(Path("found by 0"), number) for number in range(3)]
    with pytest.raises(RequestError, match="of the first") as refused:
        from_first(refuse)
    assert refused.value.hint == "ask the first"
    if not leads():
        time.sleep(0.5)  # while the first, in which they meet, may end
        (folder / str(process_rank())).touch()


def test_what_the_first_finds_holds_for_all(tmp_path: Path) -> None:
    run_together(3, ask_the_first, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


def test_one_that_is_alone_finds_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert from_first(lambda: 3) == 3


def test_one_that_is_alone_speaks_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with failing() as speaks:
        assert leads()
        assert speaks
