"""Who moves what, and what is remembered of it."""

import pytest
import torch
from torch import nn

from enliven.train.muon import Muon
from enliven.train.optimizers import optimizers_of, recall, remembered


def networks() -> nn.ModuleDict:
    torch.manual_seed(1)
    return nn.ModuleDict({"a": nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), "b": nn.Linear(2, 2)})


def made(network: nn.ModuleDict) -> dict[str, list[torch.optim.Optimizer]]:
    return {n: optimizers_of(n, each, rate=0.1, weight_decay=0.0, muon=r"a\.0") for n, each in network.items()}


def step(network: nn.ModuleDict, optimizers: dict[str, list[torch.optim.Optimizer]]) -> None:
    network["b"](network["a"](torch.ones(1, 3))).square().sum().backward()
    for each in optimizers.values():
        for optimizer in each:
            optimizer.step()
            optimizer.zero_grad()


def test_matrices_that_match_go_to_muon_and_what_is_frozen_to_nobody() -> None:
    network = networks()
    network["a"][1].requires_grad_(False)
    adam, muon = optimizers_of("a", network["a"], rate=0.1, weight_decay=0.0, muon=r"a\.0")
    assert isinstance(muon, Muon)
    assert [value.shape for value in muon.param_groups[0]["params"]] == [(4, 3)]
    assert [value.shape for value in adam.param_groups[0]["params"]] == [(4,)]
    assert optimizers_of("a", network["a"].requires_grad_(False), rate=0.1, weight_decay=0.0, muon="") == []


def test_adamw_remembers_as_much_as_its_betas_say() -> None:
    """With a first beta of 0 it follows the gradient of now alone."""
    moved = []
    for betas in ((0.0, 0.999), (0.9, 0.95)):
        layer = nn.Linear(2, 1, bias=False)
        (adam,) = optimizers_of("a", layer, rate=0.1, weight_decay=0.0, muon="", betas=betas)
        for sign in (1, 1, -1):
            before = layer.weight.detach().clone()
            layer.weight.grad = torch.full_like(layer.weight, float(sign))
            adam.step()
        moved.append((layer.weight - before).mean().item())
    assert moved[0] == pytest.approx(0.1, rel=1e-3), "against the last gradient, a whole rate"
    assert moved[1] < 0, "still along the earlier two"


def test_what_was_remembered_is_recalled_by_name_in_any_order() -> None:
    first, second = networks(), networks()
    mine, other = made(first), made(second)
    step(first, mine)
    kept = {name: value.clone() for name, value in remembered(first, mine).items()}
    assert kept["a.0.weight/momentum_buffer"].shape == (4, 3)
    assert kept["b.bias/step"] == 1
    recall({name: value.shape for name, value in reversed(kept.items())}, second, other)
    second.load_state_dict(first.state_dict())
    for name, room in remembered(second, other).items():
        room.copy_(kept[name])
    step(first, mine)
    step(second, other)
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())
