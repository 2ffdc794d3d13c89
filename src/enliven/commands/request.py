"""From flags and a run file to a checked request and the model it is for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from enliven import config
from enliven.request import GenerateRequest

DEFAULT_MODEL = "longcat-toon"
FILES = ("portrait", "video")


@dataclass(frozen=True, slots=True)
class RunFile(GenerateRequest):
    """What a run file may hold: a request and the name of a model."""

    model: str = DEFAULT_MODEL

    def request(self) -> GenerateRequest:
        """What is asked of the model."""
        return GenerateRequest(**{field.name: getattr(self, field.name) for field in fields(GenerateRequest)})


def gather(run_file: Path | None, flags: Mapping[str, Any], settings: Sequence[str] = ()) -> dict[str, Any]:
    """The values of a run file, changed by ``--set``, changed by flags: the later wins.

    Paths in a run file start at its own folder. Raises ConfigError.
    """
    written = placed(config.read(run_file), run_file.parent) if run_file else {}
    chosen = config.override(written, settings)
    merged = chosen | dict(flags)
    if isinstance(chosen.get("guidance"), dict) and "guidance" in flags:
        merged["guidance"] = chosen["guidance"] | flags["guidance"]
    return merged


def placed(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The same values, with the paths among them taken from ``folder``."""
    found: dict[str, Any] = {name: str(folder / values[name]) for name in FILES if isinstance(values.get(name), str)}
    if isinstance(values.get("audio"), list):
        found["audio"] = [str(folder / str(path)) for path in values["audio"]]
    return dict(values) | found
