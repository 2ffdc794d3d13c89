"""Weights of one network in a folder: safetensors shards small enough to carry, checked before they are used."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from enliven.errors import WeightsError
from enliven.media.storage import replacing

MOST_SHARD_BYTES = 15 * 2**20
INDEX = "model.safetensors.index.json"
SHOWN = 4
WRAPPED = "network."  # before the names of a network that we wrap; published weights lack it

Network = TypeVar("Network", bound=nn.Module)


def save_weights(network: nn.Module, folder: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write parameters and stored buffers as shards of at most 15 MiB, floating-point ones as ``dtype``.

    Larger single tensors get a shard of their own. Shards of an earlier save are removed. Raises StorageError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = _shards({name: _stored(value, dtype) for name, value in _own(network).items()})
    names = [f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    for name, shard in zip(names, shards, strict=True):
        with replacing(folder / name) as part:
            save_file(shard, part)
    index = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
    with replacing(folder / INDEX) as part:
        part.write_text(json.dumps({"weight_map": index}, indent=1) + "\n", encoding="utf-8")
    for path in folder.glob("*.safetensors"):
        if path.name not in names:
            path.unlink()


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder, by its index or from its single file. Raises WeightsError."""
    indices, files = sorted(folder.glob("*.safetensors.index.json")), sorted(folder.glob("*.safetensors"))
    if indices:
        try:
            files = [folder / name for name in sorted(set(json.loads(indices[0].read_text())["weight_map"].values()))]
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise WeightsError(f"{indices[0]} is not an index of weights: {error}", hint="fetch it again") from error
    if not files:
        raise WeightsError(f"no weights in {folder}", hint="expected .safetensors files there")
    state: dict[str, Tensor] = {}
    for path in files:
        try:
            state.update(load_file(path))
        except (OSError, SafetensorError) as error:
            raise WeightsError(
                f"cannot read {path}: {error}", hint="it is missing or cut short: fetch it again"
            ) from error
    return state


def load_weights(build: Callable[[], Network], folder: Path, dtype: torch.dtype = torch.float32) -> Network:
    """The network of ``build`` with the weights of a folder, of type ``dtype``, ready to run and not to train.

    Every name and shape is compared before memory is taken. Raises WeightsError.
    """
    state = read_weights(folder)
    with _without_memory():
        network = build()
    twins, wanted = _twins(network.state_dict(keep_vars=True)), _own(network)
    if all(name.startswith(WRAPPED) for name in wanted) and not any(name.startswith(WRAPPED) for name in state):
        state = {WRAPPED + name: value for name, value in state.items()}
    state = {twins.get(name, name): value for name, value in state.items()}
    _compare(wanted, state, folder)
    filled = {name: _like(wanted[name], state.pop(name), dtype) for name in wanted}
    network.load_state_dict(filled | {name: filled[first] for name, first in twins.items()}, assign=True)
    return network.to(dtype).requires_grad_(False).eval()  # noqa: FBT003


@contextmanager
def _without_memory() -> Iterator[None]:
    """Parameters registered inside have a shape and no memory. Buffers are real: they may be computed, not stored."""

    def shed(module: nn.Module, name: str, parameter: nn.Parameter | None) -> nn.Parameter | None:  # noqa: ARG001
        if parameter is None or parameter.is_meta:
            return None
        return nn.Parameter(parameter.to("meta"), parameter.requires_grad)

    handle = register_module_parameter_registration_hook(shed)  # type: ignore[arg-type]
    try:
        yield
    finally:
        handle.remove()


def _own(network: nn.Module) -> dict[str, Tensor]:
    """Everything stored; of shared tensors the first name only."""
    state = network.state_dict(keep_vars=True)
    return {name: value for name, value in state.items() if name not in _twins(state)}


def _twins(state: Mapping[str, Tensor]) -> dict[str, str]:
    """For each name of a tensor that has an earlier name, that name."""
    first: dict[int, str] = {}
    return {name: first[id(value)] for name, value in state.items() if first.setdefault(id(value), name) != name}


def _stored(value: Tensor, dtype: torch.dtype) -> Tensor:
    value = value.detach().cpu()
    return (value.to(dtype) if value.is_floating_point() else value).contiguous()


def _like(wanted: Tensor, value: Tensor, dtype: torch.dtype) -> Tensor:
    """The value in the memory format of the wanted tensor."""
    kind = dtype if wanted.is_floating_point() else wanted.dtype
    return torch.empty_like(wanted, device="cpu", dtype=kind, requires_grad=False).copy_(value)


def _shards(state: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    shards: list[dict[str, Tensor]] = [{}]
    held = 0
    for name, value in state.items():
        if shards[-1] and held + value.nbytes > MOST_SHARD_BYTES:
            shards.append({})
            held = 0
        shards[-1][name] = value
        held += value.nbytes
    return shards


def _compare(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor], folder: Path) -> None:
    shapes = [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in state and state[name].shape != value.shape
    ]
    faults = {
        "missing": [name for name in wanted if name not in state],
        "not expected": [name for name in state if name not in wanted],
        "of another shape": shapes,
    }
    report = [f"{len(names)} {kind} ({_some(names)})" for kind, names in faults.items() if names]
    if report:
        raise WeightsError(
            f"the weights in {folder} belong to another network: {'; '.join(report)}",
            hint="weights and config.json must come from the same save",
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (" ..." if len(names) > SHOWN else "")
