"""A step whose numbers are none: what led to it is written to a file that can be looked at.

with safe_open("fault-00000123.safetensors", "pt") as file:
    file.metadata()["losses"], file.get_tensor("0.clip.latents")
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from enliven.errors import NotFinite, StorageError
from enliven.media.storage import replacing
from enliven.train.processes import rank_and_count


def fault(
    folder: Path, step: int, drawn: Sequence[tuple[int, Any]], losses: Mapping[str, float], network: nn.Module
) -> NotFinite:
    """Write ``fault-STEP.safetensors`` and return the error that names it.

    In it are the batches (``drawn``, each with the seed of its random numbers) and, as metadata, the losses, the seeds
    and the names of weights and gradients that are not finite. Of several processes, each writes its own.
    """
    rank, count = rank_and_count()
    path = folder / f"fault-{step:08}{f'-{rank}' if count > 1 else ''}.safetensors"
    state = torch.random.get_rng_state()
    tensors = {name: value for index, (_, batch) in enumerate(drawn) for name, value in _tensors(str(index), batch)}
    bad_weights = [name for name, value in network.named_parameters() if not _finite(value)]
    bad_gradients = [name for name, value in network.named_parameters() if not _finite(value.grad)]
    told = {
        "step": step,
        "losses": {name: str(value) for name, value in losses.items()},
        "seeds": [seed for seed, _ in drawn],
        "weights not finite": bad_weights,
        "gradients not finite": bad_gradients,
    }
    where = f"what led to it is in {path}"
    try:
        with replacing(path) as part:
            save_file(tensors | {"rng": state}, part, {name: json.dumps(value) for name, value in told.items()})
    except StorageError as error:
        where = str(error)
    values = ", ".join(f"{name} {value:g}" for name, value in losses.items())
    return NotFinite(
        f"{values} at step {step}; the weights of the last checkpoint stay; {where}",
        hint="lower the learning rate, or look at the batch; the same command goes on from the last checkpoint",
    )


def _tensors(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """Every tensor inside of ``value`` with its path, ready to be saved."""
    if isinstance(value, Tensor):
        yield name, value.detach().cpu().clone(memory_format=torch.contiguous_format)
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from _tensors(f"{name}.{key}", each)
    elif isinstance(value, tuple | list):
        for index, each in enumerate(value):
            yield from _tensors(f"{name}.{index}", each)
    elif is_dataclass(value) and not isinstance(value, type):
        for part in fields(value):
            yield from _tensors(f"{name}.{part.name}", getattr(value, part.name))


def _finite(value: Tensor | None) -> bool:
    if value is None:
        return True
    own = value.to_local() if hasattr(value, "to_local") else value
    return bool(torch.isfinite(own).all())
