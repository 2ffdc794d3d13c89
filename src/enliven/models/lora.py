"""LoRA: small changes to the linear layers of a network, kept beside them or merged into them.

A file in the format of LongCat names the layers, and says how strong it is: ``alpha_scale``, usually a half. A fused
layer, as ``qkv``, has a change for each of its parts. What fits no layer is an error, never passed over.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from enliven.errors import ConfigError, WeightsError
from enliven.models.quantised import QuantisedLinear
from enliven.models.stored import Stored, read_headers

SHOWN = 3
DOT = "___lorahyphen___"  # a dot in the name of a layer
NAME = re.compile(rf"lora{DOT}(.+?)\.(lora_down\.weight|lora_up\.weight|lora_up\.blocks\.\d+\.weight|alpha_scale)")


@dataclass(frozen=True, slots=True)
class Change:
    """What is added to one layer: ``scale * up @ down``, for each of its ``parts`` one below the other."""

    down: Float[Tensor, "parts rank c_in"]
    up: Float[Tensor, "parts part rank"]
    scale: float

    @property
    def shape(self) -> tuple[int, int]:
        """That of the weights of the layer."""
        return self.up.shape[0] * self.up.shape[1], self.down.shape[2]

    def weight(self) -> Float[Tensor, "c_out c_in"]:
        """What is added to the weights at strength 1, in float32."""
        return self.scale * (self.up.float() @ self.down.float()).flatten(0, 1)


@dataclass(frozen=True, slots=True)
class Lora:
    """A file of changes, by the name of the layer."""

    path: Path
    changes: Mapping[str, Change]


class Adapter(nn.Module):
    """A change beside its layer. It moves and converts with the layer and is not saved with it."""

    down: Tensor
    up: Tensor

    def __init__(self, change: Change, strength: float) -> None:
        super().__init__()
        self.scale, self.strength = change.scale, strength
        self.register_buffer("down", change.down, persistent=False)
        self.register_buffer("up", change.up, persistent=False)

    def forward(self, x: Float[Tensor, "*b c_in"]) -> Float[Tensor, "*b c_out"]:
        """What is added to the output for ``x``, in its type."""
        low = x @ self.down.flatten(0, 1).to(x.dtype).T
        parts = low.unflatten(-1, self.down.shape[:2])[..., None, :] @ self.up.to(x.dtype).mT
        return parts.flatten(-3) * (self.strength * self.scale)

    def add(self, layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:  # noqa: ARG002
        """The output of the layer with the change. A layer that computes in float32 is changed in float32."""
        if not self.strength:
            return output
        with torch.autocast(output.device.type, enabled=False):
            return output + self(given[0].to(output.dtype))


class Attached:
    """A LoRA at work beside the layers of a network. Its ``strength`` may be changed from pass to pass."""

    def __init__(self, adapters: Iterable[Adapter], remove: Iterable[Callable[[], None]]) -> None:
        self._adapters, self._remove = list(adapters), list(remove)

    @property
    def strength(self) -> float:
        """1 as trained, 0 nothing."""
        return self._adapters[0].strength

    @strength.setter
    def strength(self, value: float) -> None:
        check_strength(value)
        for adapter in self._adapters:
            adapter.strength = value

    def detach(self) -> None:
        """Leave the network exactly as it was."""
        for remove in self._remove:
            remove()
        self._remove.clear()


def read_lora(path: Path) -> Lora:
    """Read a LoRA. Raises WeightsError where it is missing, damaged, incomplete or of another format."""
    headers, state = _headers(path), load_file(path)
    return _parse(path, {name: state[name] for name in headers})


def fit_lora(network: nn.Module, path: Path) -> None:
    """Raise WeightsError unless a LoRA fits a network. Of the file the header is read, of the network the shapes."""
    meta = {name: torch.empty(entry.shape, device="meta") for name, entry in _headers(path).items()}
    ones = {name: torch.ones(()) for name in meta if name.endswith("alpha_scale")}
    _layers(network, _parse(path, meta | ones))


def attach_lora(network: nn.Module, lora: Lora, strength: float = 1.0) -> Attached:
    """Put a LoRA beside the layers of a network; several add up. Layers of 8 bits are changed too.

    Raises WeightsError, and changes nothing, unless all its layers are there and fit.
    """
    check_strength(strength)
    layers = _layers(network, lora)
    dtype = next(value.dtype for value in network.parameters() if value.is_floating_point())
    adapters, remove = [], []
    for name, layer in layers.items():
        adapter = Adapter(lora.changes[name], strength).to(next(layer.buffers(), layer.weight).device, dtype)
        number = next(number for number in range(len(layer._modules) + 1) if f"lora_{number}" not in layer._modules)
        layer.add_module(f"lora_{number}", adapter)
        hook = layer.register_forward_hook(adapter.add)
        remove += [hook.remove, _removal(layer, f"lora_{number}")]
        adapters.append(adapter)
    return Attached(adapters, remove)


@torch.no_grad()
def merge_lora(network: nn.Module, lora: Lora, strength: float = 1.0) -> None:
    """Add a LoRA to the weights of a network: nothing to compute later, and no way back but for rounding.

    Merging once more with the strength negated undoes it, exact to the rounding of the weights. Raises WeightsError,
    and changes nothing, unless all its layers are there, fit, and have ordinary weights.
    """
    check_strength(strength)
    layers = _layers(network, lora)
    small = [name for name, layer in layers.items() if isinstance(layer, QuantisedLinear)]
    if small:
        raise WeightsError(
            f"{len(small)} layers ({_some(small)}) have weights of 8 bits, into which no LoRA can be merged",
            hint="attach it beside them, or take the bf16 weights",
        )
    for name, layer in layers.items():
        weight = layer.weight
        weight.copy_(weight.float() + strength * lora.changes[name].weight().to(weight.device))


def _headers(path: Path) -> dict[str, Stored]:
    if not path.is_file():
        raise WeightsError(f"there is no LoRA at {path}", hint="give the .safetensors file itself")
    headers = read_headers([path])
    strange = [name for name in headers if not NAME.fullmatch(name)]
    if strange or not headers:
        raise WeightsError(
            f"{path} is no LoRA in the format of LongCat: {len(strange)} of {len(headers)} names are others"
            f" ({_some(strange)})",
            hint=f"its names begin with lora{DOT}",
        )
    return headers


def _parse(path: Path, state: Mapping[str, Tensor]) -> Lora:
    layers: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        match = NAME.fullmatch(name)
        assert match is not None, name
        layers.setdefault(match[1].replace(DOT, "."), {})[match[2]] = value
    return Lora(path, {name: _change(path, name, parts) for name, parts in layers.items()})


def _change(path: Path, layer: str, parts: Mapping[str, Tensor]) -> Change:
    blocks = [f"lora_up.blocks.{index}.weight" for index in range(sum("blocks" in name for name in parts))]
    ups = blocks or ["lora_up.weight"]
    wanted = {"lora_down.weight", "alpha_scale", *ups}
    if set(parts) != wanted:
        raise WeightsError(
            f"{layer} in {path} has {', '.join(sorted(parts))}; expected {', '.join(sorted(wanted))}",
            hint="the file is not complete: fetch it again",
        )
    down, up = parts["lora_down.weight"], [parts[name] for name in ups]
    shapes = {tuple(value.shape) for value in up}
    if len(shapes) != 1 or up[0].ndim != 2 or down.shape[0] != len(up) * up[0].shape[1]:
        raise WeightsError(
            f"{layer} in {path} goes down to {down.shape[0]} and up from {len(up)} x {sorted(shapes)}",
            hint="each part of a layer goes up from an equal share of what goes down",
        )
    return Change(down.unflatten(0, (len(up), -1)), torch.stack(up), float(parts["alpha_scale"]))


def _layers(network: nn.Module, lora: Lora) -> dict[str, nn.Linear | QuantisedLinear]:
    """The layers that the LoRA changes."""
    modules = dict(network.named_modules())
    found = {name: modules.get(name) for name in lora.changes}
    layers = {name: layer for name, layer in found.items() if isinstance(layer, nn.Linear | QuantisedLinear)}
    lacking = [name for name in found if name not in layers]
    wrong = [
        f"{name}: {lora.changes[name].shape} for {(layer.out_features, layer.in_features)}"
        for name, layer in layers.items()
        if lora.changes[name].shape != (layer.out_features, layer.in_features)
    ]
    for names, what in ((lacking, "are not in this network"), (wrong, "have another size here")):
        if names:
            raise WeightsError(
                f"{len(names)} of {len(found)} layers of the LoRA {lora.path} {what} ({_some(names)})",
                hint="it was made for another model",
            )
    return layers


def _removal(layer: nn.Module, name: str) -> Callable[[], None]:
    return lambda: delattr(layer, name)


def check_strength(strength: float) -> None:
    """Raise ConfigError for a strength that is no number."""
    if not math.isfinite(strength):
        raise ConfigError(f"a LoRA of strength {strength}", hint="give a number, 1 for as trained")


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (" ..." if len(names) > SHOWN else "")
