"""What a run measures, step by step, also when it was killed between."""

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from enliven.errors import StorageError
from enliven.train.logbook import EVENTS, Logbook, read_curve


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_row_is_the_mean_of_the_steps_in_which_a_number_was_there(tmp_path: Path) -> None:
    Logbook(tmp_path).write(2, 1.23, [{"a": 1.0, "b": 5.0}, {"a": 2.0}])
    assert rows(tmp_path) == [{"step": 2, "seconds": 1.2, "a": 1.5, "b": 5.0}]


def test_rows_that_will_be_written_again_go_and_so_does_half_a_row(tmp_path: Path) -> None:
    book = Logbook(tmp_path)
    for step in (1, 2, 3):
        book.write(step, 0, [{"a": float(step)}])
    with book.path.open("a") as file:
        file.write('{"step": 4, "sec')
    book.go_on_from(2)
    book.write(3, 0, [{"a": 30.0}])
    book.close()
    assert [(row["step"], row["a"]) for row in rows(tmp_path)] == [(1, 1), (2, 2), (3, 30)]


def test_a_curve_has_the_rows_in_which_a_number_was_there(tmp_path: Path) -> None:
    book = Logbook(tmp_path)
    for step, name in ((10, "a"), (20, "b"), (30, "a")):
        book.write(step, 0, [{name: step / 4}])
    with book.path.open("a") as file:
        file.write('{"step": 40, "a": 1')
    assert read_curve(tmp_path, "a") == {10: 2.5, 30: 7.5}
    assert read_curve(tmp_path / "nothing", "a") == {}


def test_tensorboard_reads_what_was_measured(tmp_path: Path) -> None:
    book = Logbook(tmp_path)
    book.go_on_from(0)
    for step in (1, 2, 3):
        book.write(step, 0, [{"a": 0.5 * step}])
    book.close()
    events = EventAccumulator(str(tmp_path / EVENTS))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("a")] == [(1, 0.5), (2, 1.0), (3, 1.5)]


def test_a_disk_that_refuses_is_named(tmp_path: Path) -> None:
    book = Logbook(tmp_path / "nothing")
    with pytest.raises(StorageError, match=r"metrics\.jsonl"):
        book.write(1, 0, [{"a": 1.0}])
