"""Which optimiser moves which weights, and what it remembers, by the names of the weights."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from enliven.errors import ConfigError
from enliven.train.muon import Muon

BETAS = (0.9, 0.95)  # how much AdamW remembers of gradients and of their squares
AS_ALL: Mapping[str, float] = {}  # every weight learns at the rate of its network

Optimizers = Mapping[str, Sequence[torch.optim.Optimizer]]
Named = dict[str, nn.Parameter]


def optimizers_of(
    network: str,
    module: nn.Module,
    *,
    rate: float,
    weight_decay: float,
    muon: str,
    betas: tuple[float, float] = BETAS,
    factors: Mapping[str, float] = AS_ALL,
) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon on matrices whose names match ``muon``; none for a network with nothing to train.

    Weights learn as many times as fast as the first of ``factors`` says whose expression is found in their name.
    """
    matrices, others = Named(), Named()
    for name, parameter in _learning(network, module).items():
        chosen = muon and re.search(muon, name) and parameter.ndim == 2
        (matrices if chosen else others)[name] = parameter
    made: list[torch.optim.Optimizer] = []
    if others:
        groups = _groups(others, factors)
        made.append(torch.optim.AdamW(groups, lr=rate, betas=betas, weight_decay=weight_decay))
    if matrices:
        made.append(Muon(_groups(matrices, factors), lr=rate, weight_decay=weight_decay))
    return made


def set_rate(optimizer: torch.optim.Optimizer, rate: float, muon_gain: float) -> None:
    """Give an optimiser of ``optimizers_of`` the learning rate of the next step; each group has a factor of its own."""
    gain = muon_gain if isinstance(optimizer, Muon) else 1.0
    for group in optimizer.param_groups:
        group["lr"] = rate * gain * group["factor"]


def check_factors(factors: Mapping[str, float], networks: Mapping[str, nn.Module]) -> None:
    """Raise ConfigError for a factor that is not above 0, and for an expression that is none or chooses nothing."""
    names = [name for network, module in networks.items() for name in _learning(network, module)]
    for pattern, factor in factors.items():
        try:
            found = any(re.search(pattern, name) for name in names)
        except re.error as error:
            raise ConfigError(f"{pattern!r} is no regular expression: {error}", hint="as 'audio|ffn'") from None
        if not found:
            raise ConfigError(
                f"a rate of its own for {pattern!r}, which is in the name of no weight that learns",
                hint=f"there are {', '.join(names[::20][:5])} and others",
            )
        if not 0 < factor < math.inf:
            raise ConfigError(f"{factor:g} times the rate for {pattern!r}", hint="give a number above 0")


def remembered(network: nn.Module, optimizers: Optimizers) -> dict[str, Tensor]:
    """What the optimisers remember, as ``backbone.blocks.0.ffn.w1.weight/momentum_buffer``."""
    names = names_of(network)
    return {
        f"{names[parameter]}/{kind}": torch.as_tensor(value)
        for optimizer, parameter in _held(optimizers)
        for kind, value in optimizer.state.get(parameter, {}).items()
    }


def recall(shapes: Mapping[str, torch.Size], network: nn.Module, optimizers: Optimizers) -> None:
    """Make room for what was remembered, by the names of ``remembered``, to be filled.

    What has the shape of its weight lies where the weight lies, in the same parts.
    """
    names = names_of(network)
    kinds: dict[str, list[str]] = {}
    for key in shapes:
        name, kind = key.rsplit("/", 1)
        kinds.setdefault(name, []).append(kind)
    for optimizer, parameter in _held(optimizers):
        name = names[parameter]
        state = {kind: _room(shapes[f"{name}/{kind}"], parameter) for kind in kinds.get(name, ())}
        if state:
            optimizer.state[parameter] = state


def counted_names(network: nn.Module, optimizers: Optimizers) -> Callable[[int, str], str]:
    """The name of ``3.exp_avg`` of optimiser 0, in checkpoints of one AdamW and one Muon that count parameters."""
    held: dict[Tensor, type] = {parameter: type(optimizer) for optimizer, parameter in _held(optimizers)}
    names = names_of(network).items()
    order = [[name for parameter, name in names if held.get(parameter) is kind] for kind in (torch.optim.AdamW, Muon)]

    def name(number: int, key: str) -> str:
        index, kind = key.split(".", 1)
        return f"{order[number][int(index)]}/{kind}"

    return name


def names_of(network: nn.Module) -> dict[Tensor, str]:
    """The name of each weight."""
    return {parameter: name for name, parameter in network.named_parameters()}


def _learning(network: str, module: nn.Module) -> Named:
    """The weights of a network that learn, by their names in all networks."""
    return {f"{network}.{name}": value for name, value in module.named_parameters() if value.requires_grad}


def _groups(weights: Named, factors: Mapping[str, float]) -> list[dict[str, Any]]:
    """Those that learn equally fast together."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in weights.items():
        factor = next((factor for pattern, factor in factors.items() if re.search(pattern, name)), 1.0)
        groups.setdefault(factor, []).append(parameter)
    return [{"params": parameters, "factor": factor} for factor, parameters in groups.items()]


def _held(optimizers: Optimizers) -> Iterator[tuple[torch.optim.Optimizer, nn.Parameter]]:
    for each in optimizers.values():
        for optimizer in each:
            for group in optimizer.param_groups:
                yield from ((optimizer, parameter) for parameter in group["params"])


def _room(shape: torch.Size, parameter: nn.Parameter) -> Tensor:
    like_parameter = shape == parameter.shape and parameter.ndim
    return torch.zeros_like(parameter.detach()) if like_parameter else torch.zeros(shape)
