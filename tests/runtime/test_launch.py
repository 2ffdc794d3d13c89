"""Who speaks, of several processes that fail."""

import os
import time
from pathlib import Path

import pytest

from enliven.runtime.launch import failing, leads, meeting_place, process_count
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


def test_one_that_is_alone_speaks_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with failing() as speaks:
        assert leads()
        assert speaks
