"""Weights of one network in a folder: safetensors shards small enough to carry, checked before they are used."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from enliven.errors import WeightsError
from enliven.media.storage import replacing
from enliven.models.stored import Stored, read_headers, weight_files

MOST_SHARD_BYTES = 15 * 2**20
INDEX = "model.safetensors.index.json"
SHOWN = 4
SAMPLED = 64  # values of a tensor that tell it from another
WRAPPED = "network."  # before the names of a network that we wrap; published weights lack it
EXACT = (".weight_scale", ".weight_fp8")  # what ends so keeps its type whatever the network computes in
FLOATS = {"F64", "F32", "F16", "BF16"}
OTHERS = {
    **{torch.int8: "I8", torch.uint8: "U8", torch.int32: "I32", torch.int64: "I64", torch.bool: "BOOL"},
    torch.float8_e4m3fn: "F8_E4M3",  # too few numbers to be meant by any other type
}

Network = TypeVar("Network", bound=nn.Module)
Rename = Callable[[str], str | None]  # our name for a stored tensor, or None for one that is not needed


@dataclass(frozen=True, slots=True)
class Fit:
    """How stored tensors fit a network: what there is, and what is wrong with it.

    ``counts`` says how many tensors there are of each type, ``unused`` how many of another use are passed over.
    """

    counts: Mapping[str, int]
    nbytes: int
    unused: int = 0
    missing: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()
    misshapen: tuple[str, ...] = ()
    mistyped: tuple[str, ...] = ()

    @property
    def faults(self) -> dict[str, tuple[str, ...]]:
        """What is wrong, by kind; empty where all fits."""
        kinds = {
            "missing": self.missing,
            "not expected": self.left_over,
            "of another shape": self.misshapen,
            "of another type": self.mistyped,
        }
        return {kind: names for kind, names in kinds.items() if names}

    def __str__(self) -> str:
        """The faults in a line."""
        return "; ".join(f"{len(names)} {kind} ({_some(names)})" for kind, names in self.faults.items())


def save_weights(network: nn.Module, folder: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write parameters and stored buffers as shards of at most 15 MiB, floating-point ones as ``dtype``.

    Larger single tensors get a shard of their own. Shards of an earlier save are removed. Raises StorageError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = _shards({name: _stored(name, value, dtype) for name, value in _own(network).items()})
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
    files = weight_files(folder)
    return dict(_tensors(read_headers(files)))


def sampled(value: Tensor) -> Tensor:
    """Some values from all over a tensor, that tell it from another."""
    return value.flatten()[:: max(1, value.numel() // SAMPLED)]


def fit_weights(build: Callable[[], nn.Module], folder: Path, rename: Rename | None = None) -> Fit:
    """How the weights of a folder fit the network of ``build``; no tensor is read and no memory taken for one.

    Raises WeightsError for files that are missing, damaged or no weights.
    """
    stored = read_headers(weight_files(folder))
    return _fit(_without_tensors(build), stored, rename)[0]


def find_weights(
    build: Callable[[], nn.Module], folder: Path, rename: Rename | None = None
) -> dict[str, tuple[Path, str]]:
    """File and stored name of every tensor, by its name in the network of ``build``. Raises WeightsError."""
    stored = read_headers(weight_files(folder))
    network = _without_tensors(build)
    _, names = _fit(network, stored, rename)
    found = {new: (stored[name].path, name) for name, new in names.items()}
    twins = _twins(network.state_dict(keep_vars=True))
    return found | {name: found[first] for name, first in twins.items() if first in found}


def load_weights(
    build: Callable[[], Network], folder: Path, dtype: torch.dtype = torch.float32, rename: Rename | None = None
) -> Network:
    """The network of ``build`` with the weights of a folder, of type ``dtype``, ready to run and not to train.

    Every name, shape and type is compared before a tensor is read. Weights already of type ``dtype`` stay in the
    files until they are used. Raises WeightsError.
    """
    stored = read_headers(weight_files(folder))
    network = _without_tensors(build)
    fit, names = _fit(network, stored, rename)
    if fit.faults:
        raise WeightsError(
            f"the weights in {folder} belong to another network: {fit}",
            hint="weights and config.json must come from the same save",
        )
    wanted, twins = _own(network), _twins(network.state_dict(keep_vars=True))
    needed = {name: entry for name, entry in stored.items() if name in names}
    filled = {names[name]: _like(names[name], wanted[names[name]], value, dtype) for name, value in _tensors(needed)}
    network.load_state_dict(filled | {name: filled[first] for name, first in twins.items()}, assign=True)
    for name, first in twins.items():  # assigned by name, they are two parameters over the same numbers
        _put(network, name, _at(network, first))
    return network.to(dtype).requires_grad_(False).eval()  # noqa: FBT003


def _fit(network: nn.Module, stored: Mapping[str, Stored], rename: Rename | None) -> tuple[Fit, dict[str, str]]:
    """The comparison, and for each stored name that is needed the name in the network."""
    wanted, twins = _own(network), _twins(network.state_dict(keep_vars=True))
    if rename is None:
        wrap = all(name.startswith(WRAPPED) for name in wanted) and not any(map(_is_wrapped, stored))
        ours = {name: WRAPPED + name if wrap else name for name in stored}
    else:
        ours = {name: new for name in stored if (new := rename(name)) is not None}
    names = {name: twins.get(new, new) for name, new in ours.items()}
    found = {new: stored[name] for name, new in names.items()}
    both = {name: (value, found[name]) for name, value in wanted.items() if name in found}
    fit = Fit(
        counts=dict(Counter(entry.dtype for entry in found.values())),
        nbytes=sum(entry.nbytes for entry in found.values()),
        unused=len(stored) - len(ours),
        missing=tuple(name for name in wanted if name not in found),
        left_over=tuple(name for name in found if name not in wanted),
        misshapen=tuple(
            f"{name} is {entry.shape}, expected {tuple(value.shape)}"
            for name, (value, entry) in both.items()
            if entry.shape != tuple(value.shape)
        ),
        mistyped=tuple(
            f"{name} is {entry.dtype}, expected {' or '.join(sorted(_types(value)))}"
            for name, (value, entry) in both.items()
            if entry.dtype not in _types(value)
        ),
    )
    return fit, names


def _types(wanted: Tensor) -> set[str]:
    """What a tensor may be stored as."""
    if wanted.is_floating_point() and wanted.dtype not in OTHERS:
        return FLOATS
    return {OTHERS.get(wanted.dtype, str(wanted.dtype))}


def _tensors(stored: Mapping[str, Stored]) -> Iterator[tuple[str, Tensor]]:
    """The tensors, file after file."""
    for path in dict.fromkeys(entry.path for entry in stored.values()):
        try:
            with safe_open(path, "pt") as file:
                for name in (name for name, entry in stored.items() if entry.path == path):
                    yield name, file.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise WeightsError(f"cannot read {path}: {error}", hint="it is damaged: fetch it again") from error


def _without_tensors(build: Callable[[], Network]) -> Network:
    with _without_memory():
        return build()


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
    twins = _twins(state)
    return {name: value for name, value in state.items() if name not in twins}


def _twins(state: Mapping[str, Tensor]) -> dict[str, str]:
    """For each name of a tensor that has an earlier name, that name."""
    first: dict[int, str] = {}
    return {name: first[id(value)] for name, value in state.items() if first.setdefault(id(value), name) != name}


def _at(network: nn.Module, name: str) -> Any:
    owner, _, leaf = name.rpartition(".")
    return getattr(network.get_submodule(owner), leaf)


def _put(network: nn.Module, name: str, value: Any) -> None:
    owner, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(owner), leaf, value)


def _stored(name: str, value: Tensor, dtype: torch.dtype) -> Tensor:
    return value.detach().cpu().to(_type(name, value, dtype)).contiguous()


def _like(name: str, wanted: Tensor, value: Tensor, dtype: torch.dtype) -> Tensor:
    """The value in the type and memory format of the wanted tensor; the very value where it has both."""
    kind = _type(name, wanted, dtype)
    if value.dtype == kind and value.stride() == wanted.stride():
        return value
    return torch.empty_like(wanted, device="cpu", dtype=kind, requires_grad=False).copy_(value)


def _type(name: str, value: Tensor, dtype: torch.dtype) -> torch.dtype:
    return dtype if value.is_floating_point() and not name.endswith(EXACT) else value.dtype


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


def _is_wrapped(name: str) -> bool:
    return name.startswith(WRAPPED)


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:SHOWN]) + (" ..." if len(names) > SHOWN else "")
