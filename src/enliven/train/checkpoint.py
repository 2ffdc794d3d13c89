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

CHECKPOINT = "checkpoint"  # in the folder of a run
COUNTERS = "counters.json"


def save(folder: Path, *, tensors: Mapping[str, Tensors], counters: Mapping[str, float]) -> None:
    """Write one safetensors file per name and the counters; then move them into place."""
    new = begin_new(folder)
    for name, values in tensors.items():
        copies = {key: _own_copy(value) for key, value in values.items()}
        save_file(copies, new / f"{name}.safetensors")
    (new / COUNTERS).write_text(json.dumps(dict(counters)))
    put_in_place(folder)


def fresh(folder: Path) -> Path:
    """Where the next checkpoint is written until it is whole."""
    return folder.with_name(folder.name + ".new")


def begin_new(folder: Path) -> Path:
    """An empty folder for the next checkpoint; what a kill left there goes."""
    shutil.rmtree(fresh(folder), ignore_errors=True)
    fresh(folder).mkdir(parents=True)
    return fresh(folder)


def put_in_place(folder: Path) -> None:
    """The next checkpoint is whole: it takes the place of the last."""
    old = _old(folder)
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    fresh(folder).rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def find(folder: Path) -> Path | None:
    """Where the last whole checkpoint of ``folder`` stands, if there is one."""
    return next((place for place in (folder, _old(folder)) if place.exists()), None)


def counters(folder: Path) -> dict[str, Any]:
    """What the last checkpoint of ``folder`` counts, such as ``step`` and ``seconds``; nothing where there is none."""
    place = find(folder)
    return json.loads((place / COUNTERS).read_text()) if place else {}


def load(folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, float]]:
    """Read what ``save`` wrote; WeightsError when there is nothing."""
    place = find(folder)
    if place is None:
        raise WeightsError(f"no checkpoint in {folder}", hint="give the folder of a run that has saved one")
    tensors = {path.stem: load_file(path) for path in sorted(place.glob("*.safetensors"))}
    return tensors, json.loads((place / COUNTERS).read_text())


def _old(folder: Path) -> Path:
    return folder.with_name(folder.name + ".old")


def _own_copy(value: Tensor) -> Tensor:
    return value.detach().cpu().clone(memory_format=torch.contiguous_format)
