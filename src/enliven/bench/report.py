"""Checks with targets, and the report they make: JSON for machines, Markdown for people."""

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from PIL import Image

from enliven.bench.cards import ROOT, refresh_cards, title_row
from enliven.media.storage import replacing
from enliven.systems.spec import PACKAGED

PACKAGES = ("torch", "transformers", "numpy", "av")


@dataclass(frozen=True, slots=True)
class Check:
    """A measured number and where it should lie; without bounds it is only told."""

    name: str
    value: float
    least: float | None = None
    most: float | None = None
    unit: str = ""

    @property
    def passed(self) -> bool:
        """Whether the number lies where it should; one that is not a number does not."""
        return (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)

    @property
    def target(self) -> str:
        """The bounds in words."""
        if self.least is not None and self.most is not None:
            return f"{self.least:g} to {self.most:g}"
        if self.least is not None:
            return f"≥ {self.least:g}"
        return f"≤ {self.most:g}" if self.most is not None else ""


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the report: its checks, the numbers behind them, pictures by file name, and how it was looked at."""

    title: str
    checks: Sequence[Check]
    details: Mapping[str, object] = field(default_factory=dict)
    pictures: Mapping[str, Image.Image] = field(default_factory=dict)
    note: str = ""


def write_report(
    parts: Iterable[Section], folder: Path, subject: str, *, weights: Path = PACKAGED, root: Path = ROOT
) -> Path:
    """Write ``folder/DATE-SUBJECT.json``, ``.md`` and pictures after every part; returns the Markdown's path.

    The cards beside the ``weights`` tell of what is measured in the repository ``root``, so they go with it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    about, done = circumstances(subject), list[Section]()
    name = f"{about['date']}-{subject.replace(' ', '-')}"
    for part in parts:
        done.append(part)
        for picture, image in part.pictures.items():
            with replacing(folder / f"{name}-{picture}.png") as path:
                image.save(path, format="PNG", optimize=True)
        _write(folder / f"{name}.json", json.dumps(as_data(about, done), indent=1) + "\n")
        _write(folder / f"{name}.md", as_markdown(about, done, name))
        refresh_cards(folder, weights, root)
    return folder / f"{name}.md"


def as_data(about: Mapping[str, str], parts: Sequence[Section]) -> dict[str, object]:
    """The report as plain data."""
    return {
        "about": dict(about),
        "passed": all(check.passed for part in parts for check in part.checks),
        "parts": {
            part.title: {
                "checks": {
                    c.name: {"value": round(c.value, 4), "unit": c.unit, "target": c.target, "passed": c.passed}
                    for c in part.checks
                },
                "details": part.details,
                "note": part.note,
            }
            for part in parts
        },
    }


def as_markdown(about: Mapping[str, str], parts: Sequence[Section], name: str) -> str:
    """The report as a page."""
    lines = [f"# Toon report, {about['date']}: {about['subject']}", ""]
    lines += [f"- {key}: {value}" for key, value in about.items() if key not in ("date", "subject")]
    lines += ["", "| measure | value | target | |", "|---|---|---|---|"]
    for part in parts:
        lines.append(title_row(part.title, part.note))
        lines += [f"| {c.name} | {c.value:.3g} {c.unit} | {c.target} | {_mark(c)} |" for c in part.checks]
    for part in parts:
        for picture in part.pictures:
            lines += ["", f"## {picture.replace('-', ' ').capitalize()}", "", f"![{picture}]({name}-{picture}.png)"]
    return "\n".join(lines) + "\n"


def circumstances(subject: str) -> dict[str, str]:
    """What was measured, when, how, and on what."""
    module = getattr(sys.modules["__main__"].__spec__, "name", "enliven.bench.toon")
    command = " ".join(["python -m", module, *map(shlex.quote, sys.argv[1:])])
    return {
        "subject": subject,
        "date": datetime.now(UTC).date().isoformat(),
        "command": f"`{command}`",
        "commit": _commit(),
        "hardware": f"{_processor()}, {os.cpu_count()} cores",
        "versions": ", ".join([f"Python {platform.python_version()}", *(f"{p} {version(p)}" for p in PACKAGES)]),
    }


def _mark(check: Check) -> str:
    return "" if not check.target else "pass" if check.passed else "**fail**"


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _write(path: Path, text: str) -> None:
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")
