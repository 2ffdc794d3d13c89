"""How far a run has come: one bar on a terminal, a line now and then anywhere else."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from enliven.runtime.launch import leads
from enliven.types import Progress

SECONDS_BETWEEN_LINES = 5.0


def listener(console: Console | None = None) -> "TerminalBar | PlainLines":
    """Whatever suits where standard error goes; of several processes, the first tells."""
    console = console or Console(stderr=True, quiet=not leads())
    return TerminalBar(console) if console.is_terminal else PlainLines(console)


class TerminalBar:
    """One bar that names the stage, with the time left."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.bar = Bar(*columns, TimeRemainingColumn(elapsed_when_finished=True), console=console, transient=True)
        self.task: TaskID | None = None
        self.stage = ""

    def __enter__(self) -> "TerminalBar":
        self.bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.bar.stop()

    def __call__(self, progress: Progress) -> None:
        """Show ``progress``; a new stage starts the bar anew."""
        if self.task is None or progress.stage != self.stage:
            if self.task is not None:
                self.bar.remove_task(self.task)
            self.stage = progress.stage
            self.task = self.bar.add_task(progress.stage, total=progress.total, completed=progress.done)
        self.bar.update(self.task, completed=progress.done, total=progress.total)

    def note(self, line: str) -> None:
        """Write a line that stays, above the bar."""
        self.bar.console.print(line, highlight=False, soft_wrap=True, markup=False)


class PlainLines:
    """A line when a stage begins or ends, and every few seconds between."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.stage = ""
        self.began = self.told = 0.0
        self.before = 0

    def __enter__(self) -> "PlainLines":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def __call__(self, progress: Progress) -> None:
        """Write ``progress`` if it is new enough to be worth a line."""
        now = time.monotonic()
        if progress.stage != self.stage:
            self.stage, self.began, self.told = progress.stage, now, -SECONDS_BETWEEN_LINES
            self.before = progress.done
        if progress.done < progress.total and now - self.told < SECONDS_BETWEEN_LINES:
            return
        self.told = now
        line = f"{progress.stage}: {progress.done}/{progress.total}"
        done = progress.done - self.before
        left = (now - self.began) / done * (progress.total - progress.done) if done else 0.0
        self.note(f"{line}, about {clock(left)} left" if left else line)

    def note(self, line: str) -> None:
        """Write a line."""
        self.console.print(line, highlight=False, soft_wrap=True, markup=False)


def clock(seconds: float) -> str:
    """``seconds`` as a person says them: 42 s, 3 min 05 s, 1 h 02 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
