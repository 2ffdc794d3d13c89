"""From flags and a run file to a checked request and the model it is for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from enliven import config
from enliven.errors import ConfigError
from enliven.request import GenerateRequest

DEFAULT_MODEL = "longcat-toon"
FILES = ("portrait", "video", "timeline")
SCENE = {"from": "start", "prompt": "prompt"}  # what a scene is called in TOML, and in a request
EXAMPLE = '[[scene]] tables, each with from = 12.5 and prompt = "..."'


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
    if isinstance(merged.get("timeline"), str | Path):
        merged["scene"] = timeline(Path(merged.pop("timeline")))
    if "scene" in merged:
        merged["timeline"] = scenes(merged.pop("scene"))
    return merged


def timeline(path: Path) -> Any:
    """What stands under ``scene`` in a timeline file. Raises ConfigError where anything else stands there."""
    found = config.read(path)
    for name in found.keys() - {"scene"}:
        raise ConfigError(f"{path} holds {name!r}", hint=f"a timeline is {EXAMPLE}; the rest goes into a run file")
    return found.get("scene", ())


def scenes(tables: Any) -> list[dict[str, Any]]:
    """The scenes of a request, from the ``[[scene]]`` tables of a file. Raises ConfigError for anything else."""
    if not (tables and isinstance(tables, list) and all(isinstance(table, dict) for table in tables)):
        raise ConfigError("there is no scene in the timeline", hint=f"write {EXAMPLE}")
    for number, table in enumerate(tables, start=1):
        for name in table.keys() - SCENE.keys():
            raise ConfigError(f"scene {number} has a {name!r}", hint=config.closest(name, SCENE) or f"write {EXAMPLE}")
        for name in SCENE.keys() - table.keys():
            raise ConfigError(f"scene {number} has no {name!r}", hint=f"write {EXAMPLE}")
    return [{SCENE[name]: value for name, value in table.items()} for table in tables]


def placed(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The same values, with the paths among them taken from ``folder``."""
    found: dict[str, Any] = {name: str(folder / values[name]) for name in FILES if isinstance(values.get(name), str)}
    if isinstance(values.get("audio"), list):
        found["audio"] = [str(folder / str(path)) for path in values["audio"]]
    return dict(values) | found
