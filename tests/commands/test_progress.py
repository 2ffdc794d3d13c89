"""Progress on a terminal and in a log."""

import io
import time

import pytest
from rich.console import Console

from enliven.commands.progress import PlainLines, TerminalBar, clock, listener
from enliven.types import Progress


def written(terminal: bool) -> tuple[io.StringIO, Console]:
    file = io.StringIO()
    return file, Console(file=file, force_terminal=terminal, width=100)


def test_a_terminal_gets_a_bar_and_a_log_gets_lines() -> None:
    assert isinstance(listener(written(terminal=True)[1]), TerminalBar)
    assert isinstance(listener(written(terminal=False)[1]), PlainLines)


def test_a_log_gets_the_first_and_last_of_a_stage_and_not_each_step() -> None:
    file, console = written(terminal=False)
    with PlainLines(console) as tell:
        for done in range(101):
            tell(Progress("sampling", done, 100))
        tell(Progress("joining", 1, 1))
    assert file.getvalue().splitlines() == ["sampling: 0/100", "sampling: 100/100", "joining: 1/1"]


def test_a_log_says_how_long_it_will_take_wherever_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 30.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    file, console = written(terminal=False)
    with PlainLines(console) as tell:
        tell(Progress("sampling", 2, 6))
        tell(Progress("sampling", 3, 6))
    assert "sampling: 3/6, about 1 min 30 s left" in file.getvalue()


def test_a_bar_shows_the_stage_it_is_in() -> None:
    file, console = written(terminal=True)
    with TerminalBar(console) as show:
        show(Progress("encoding", 1, 2))
        show(Progress("sampling", 3, 8))
        show.bar.refresh()
        assert [task.description for task in show.bar.tasks] == ["sampling"]
        assert show.bar.tasks[0].completed == 3
    assert "sampling" in file.getvalue()


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (59.7, "1 min 00 s"), (185.0, "3 min 05 s"), (3725.0, "1 h 02 min")]
)
def test_a_clock_speaks_like_a_person(seconds: float, said: str) -> None:
    assert clock(seconds) == said
