"""Training state on disk: safetensors and JSON, replaced as a whole so that a kill never leaves half of one."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

Tensors = Mapping[str, Tensor]


def save(folder: Path, *, tensors: Mapping[str, Tensors], counters: Mapping[str, float]) -> None:
    """Write one safetensors file per name, the counters and the random state; then move it into place."""
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for name, values in tensors.items():
        copies = {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in values.items()}
        save_file(copies, fresh / f"{name}.safetensors")
    save_file({"torch": torch.get_rng_state()}, fresh / "random.safetensors")
    (fresh / "counters.json").write_text(json.dumps(dict(counters)))
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load(folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, float]]:
    """Read what ``save`` wrote and set the random state."""
    tensors = {path.stem: load_file(path) for path in sorted(folder.glob("*.safetensors"))}
    torch.set_rng_state(tensors.pop("random")["torch"])
    return tensors, json.loads((folder / "counters.json").read_text())


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
