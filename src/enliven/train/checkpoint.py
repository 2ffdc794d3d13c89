"""Training state on disk: safetensors and JSON, replaced as a whole so that a kill never leaves half of one.

While it is replaced, the last whole checkpoint may stand for a moment under its name with ``.old``.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from enliven.errors import WeightsError

Tensors = Mapping[str, Tensor]


def save(folder: Path, *, tensors: Mapping[str, Tensors], counters: Mapping[str, float]) -> None:
    """Write one safetensors file per name and the counters; then move them into place."""
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for name, values in tensors.items():
        copies = {key: _own_copy(value) for key, value in values.items()}
        save_file(copies, fresh / f"{name}.safetensors")
    (fresh / "counters.json").write_text(json.dumps(dict(counters)))
    old = _old(folder)
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def find(folder: Path) -> Path | None:
    """Where the last whole checkpoint of ``folder`` stands, if there is one."""
    return next((place for place in (folder, _old(folder)) if place.exists()), None)


def load(folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, float]]:
    """Read what ``save`` wrote; WeightsError when there is nothing."""
    place = find(folder)
    if place is None:
        raise WeightsError(f"no checkpoint in {folder}", hint="give the folder of a run that has saved one")
    tensors = {path.stem: load_file(path) for path in sorted(place.glob("*.safetensors"))}
    return tensors, json.loads((place / "counters.json").read_text())


def flatten(state: Mapping[int, Mapping[str, Any]]) -> dict[str, Tensor]:
    """Optimiser state as flat tensors: parameter 3's momentum becomes ``3.momentum_buffer``."""
    return {
        f"{index}.{name}": torch.as_tensor(value) for index, values in state.items() for name, value in values.items()
    }


def unflatten(tensors: Tensors) -> dict[int, dict[str, Tensor]]:
    """The inverse of ``flatten``."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    return state


def _old(folder: Path) -> Path:
    return folder.with_name(folder.name + ".old")


def _own_copy(value: Tensor) -> Tensor:
    return value.detach().cpu().clone(memory_format=torch.contiguous_format)
