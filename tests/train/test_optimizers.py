"""Who moves what, and what is remembered of it."""

import pytest
import torch
from torch import nn

from enliven.errors import ConfigError
from enliven.train.muon import Muon
from enliven.train.optimizers import check_factors, counted_names, optimizers_of, recall, remembered, set_rate


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


def test_weights_learn_as_many_times_as_fast_as_the_first_expression_says() -> None:
    """By hand: the first step of AdamW is the rate, against the sign of the gradient, and what decays is the same."""
    factors, decay, rate = {r"a\.1\.weight": 5.0, r"a\.1": 0.5}, 0.1, 0.02
    network = networks()["a"]
    (adam,) = optimizers_of("a", network, rate=1.0, weight_decay=decay, muon="", factors=factors)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for value in network.parameters():
        value.grad = torch.where(torch.arange(value.numel()).reshape(value.shape) % 2 == 0, 3.0, -0.2)
    set_rate(adam, rate, muon_gain=7.0)
    adam.step()
    for name, value in network.named_parameters():
        own = rate * {"1.weight": 5.0, "1.bias": 0.5}.get(name, 1.0)
        assert value.grad is not None
        expected = before[name] * (1 - own * decay) - own * value.grad.sign()
        torch.testing.assert_close(value.detach(), expected, atol=1e-6, rtol=1e-5)


def test_matrices_have_rates_of_their_own_too() -> None:
    made = optimizers_of("a", networks()["a"], rate=0.1, weight_decay=0.0, muon="weight", factors={r"0\.": 3.0})
    rates = {}
    for optimizer in made:
        set_rate(optimizer, 0.1, muon_gain=2.0)
        rates[type(optimizer)] = [group["lr"] for group in optimizer.param_groups]
    assert rates == {torch.optim.AdamW: pytest.approx([0.3, 0.1]), Muon: pytest.approx([0.6, 0.2])}


@pytest.mark.parametrize(
    ("factors", "told"),
    [
        ({"c": 2.0}, "in the name of no weight that learns"),
        ({"weight": 2.0, r"^b\.": 2.0}, "no weight that learns"),
        ({"(": 2.0}, "no regular expression"),
        ({"a": 0.0}, "0 times the rate for 'a'"),
        ({"a": float("nan")}, "nan times the rate for 'a'"),
        ({"a": float("inf")}, "inf times the rate for 'a'"),
    ],
)
def test_rates_that_nothing_would_learn_at_are_refused(factors: dict[str, float], told: str) -> None:
    network = networks()
    network["b"].requires_grad_(False)
    check_factors({"weight": 2.0, r"^a\.1": 0.5}, dict(network))
    with pytest.raises(ConfigError, match=told) as refused:
        check_factors(factors, dict(network))
    assert refused.value.hint


def test_counted_parameters_are_those_in_order_whatever_their_rates() -> None:
    network = networks()["a"]
    optimizers = {"a": optimizers_of("a", network, rate=0.1, weight_decay=0.0, muon="", factors={"0.bias": 2.0})}
    assert [counted_names(network, optimizers)(0, f"{index}.step") for index in range(4)] == [
        "0.weight/step",
        "0.bias/step",
        "1.weight/step",
        "1.bias/step",
    ]


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
