"""Golden tensors: what the published code computed, on random weights.

They live outside the repository. ``ENLIVEN_GOLDEN`` names their folder; tests skip, saying why, when it is absent.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from safetensors import safe_open
from torch import Tensor

DEFAULT = Path(__file__).resolve().parents[1] / ".." / "shared" / "golden" / "longcat"


@dataclass(frozen=True)
class Case:
    """One recorded call: ``inputs`` by argument name, ``outputs`` by result name, scalars in ``args``."""

    name: str
    kind: str
    args: dict[str, Any]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    notes: str


class Golden(NamedTuple):
    """A golden file: constructor arguments, state dict, recorded calls and every tensor outside the state dict."""

    config: dict[str, Any]
    state_dict: dict[str, Tensor]
    cases: list[Case]
    tensors: dict[str, Tensor]

    def case(self, name: str) -> Case:
        return next(case for case in self.cases if case.name == name)


def golden_folder() -> Path:
    """The folder of golden files, or skip the test."""
    folder = Path(os.environ.get("ENLIVEN_GOLDEN", DEFAULT))
    if not folder.is_dir():
        pytest.skip(f"golden files not found in {folder}; set ENLIVEN_GOLDEN to their folder")
    return folder


def golden(name: str) -> Golden:
    """Load ``<golden folder>/<name>.safetensors``."""
    path = golden_folder() / f"{name}.safetensors"
    if not path.is_file():
        pytest.skip(f"golden file not found: {path}")
    with safe_open(path, "pt") as file:
        meta = file.metadata()
        loaded = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    tensors = {key: value for key, value in loaded.items() if not key.startswith("sd/")}
    state_dict = {key.removeprefix("sd/"): value for key, value in loaded.items() if key.startswith("sd/")}
    cases = [_case(raw, tensors) for raw in json.loads(meta.get("cases", "[]"))]
    return Golden(json.loads(meta.get("config", "{}")), state_dict, cases, tensors)


def _case(raw: dict[str, Any], tensors: dict[str, Tensor]) -> Case:
    return Case(
        name=raw["name"],
        kind=raw["kind"],
        args=raw.get("args", {}),
        inputs=_resolve(raw.get("inputs", {}), tensors),
        outputs=_resolve(raw.get("outputs", {}), tensors),
        notes=raw.get("notes", ""),
    )


def _resolve(keys: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Replace tensor keys by tensors; a list of keys becomes a list of tensors, null stays None."""
    return {name: _tensor(key, tensors) for name, key in keys.items()}


def _tensor(key: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(key, list):
        return [_tensor(item, tensors) for item in key]
    if isinstance(key, dict):
        return _resolve(key, tensors)
    return tensors[key] if isinstance(key, str) else key
