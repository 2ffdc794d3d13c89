"""Which optimiser moves which weights, and what it remembers, by the names of the weights."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from enliven.train.muon import Muon

BETAS = (0.9, 0.95)  # how much AdamW remembers of gradients and of their squares

Optimizers = Mapping[str, Sequence[torch.optim.Optimizer]]


def optimizers_of(
    network: str,
    module: nn.Module,
    *,
    rate: float,
    weight_decay: float,
    muon: str,
    betas: tuple[float, float] = BETAS,
) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon on matrices whose names match ``muon``; none for a network with nothing to train."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        chosen = muon and re.search(muon, f"{network}.{name}") and parameter.ndim == 2
        (matrices if chosen else others).append(parameter)
    made: list[torch.optim.Optimizer] = []
    if others:
        made.append(torch.optim.AdamW(others, lr=rate, betas=betas, weight_decay=weight_decay))
    if matrices:
        made.append(Muon(matrices, lr=rate, weight_decay=weight_decay))
    return made


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
    names = names_of(network)
    order = [
        [names[parameter] for optimizer, parameter in _held(optimizers) if isinstance(optimizer, kind)]
        for kind in (torch.optim.AdamW, Muon)
    ]

    def name(number: int, key: str) -> str:
        index, kind = key.split(".", 1)
        return f"{order[number][int(index)]}/{kind}"

    return name


def names_of(network: nn.Module) -> dict[Tensor, str]:
    """The name of each weight."""
    return {parameter: name for name, parameter in network.named_parameters()}


def _held(optimizers: Optimizers) -> Iterator[tuple[torch.optim.Optimizer, nn.Parameter]]:
    for each in optimizers.values():
        for optimizer in each:
            for group in optimizer.param_groups:
                yield from ((optimizer, parameter) for parameter in group["params"])


def _room(shape: torch.Size, parameter: nn.Parameter) -> Tensor:
    like_parameter = shape == parameter.shape and parameter.ndim
    return torch.zeros_like(parameter.detach()) if like_parameter else torch.zeros(shape)
