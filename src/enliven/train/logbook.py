"""What a run measures: ``metrics.jsonl``, and event files for TensorBoard where it is installed."""

import importlib.util
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from enliven.media.storage import replacing, storage_error
from enliven.train.processes import rank_and_count

FILE = "metrics.jsonl"
EVENTS = "events"


class Logbook:
    """Rows of numbers by step, written by the first process. Raises StorageError when the disk refuses."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / FILE
        self.writes = rank_and_count()[0] == 0
        self._events: Any = None

    def go_on_from(self, step: int) -> None:
        """Forget rows after ``step``, and one that was cut off: they will be written again."""
        if not self.writes:
            return
        if self.path.exists():
            kept = [line for line in self.path.read_text().splitlines() if _step(line) <= step]
            with replacing(self.path) as part:
                part.write_text("".join(f"{line}\n" for line in kept))
        self._open(step)

    def write(self, step: int, seconds: float, measured: Sequence[Mapping[str, float]]) -> None:
        """One row: the means of what was ``measured`` since the last."""
        if not self.writes or not measured:
            return
        told: dict[str, list[float]] = {}  # in other steps other losses, where networks take turns
        for name, value in (pair for one in measured for pair in one.items()):
            told.setdefault(name, []).append(value)
        means = {name: sum(values) / len(values) for name, values in told.items()}
        row = {"step": step, "seconds": round(seconds, 1)} | {name: float(f"{v:.6g}") for name, v in means.items()}
        try:
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise storage_error(self.path, error) from error
        if self._events:
            for name, value in means.items():
                self._events.add_scalar(name, value, step)
            self._events.flush()

    def close(self) -> None:
        """No more rows come."""
        if self._events:
            self._events.close()
            self._events = None

    def _open(self, step: int) -> None:
        if importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - heavy, and optional

            self._events = SummaryWriter(str(self.folder / EVENTS), purge_step=step + 1 if step else None)


def read_curve(folder: Path, name: str) -> dict[int, float]:
    """What was measured by this name, by step, in the logbook of a folder; nothing where there is none."""
    path = folder / FILE
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines if _step(line) < math.inf]
    return {row["step"]: row[name] for row in rows if name in row}


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf
