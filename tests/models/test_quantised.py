"""What all layers of small weights promise, whichever numbers they keep."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from enliven.errors import ConfigError
from enliven.models.fp8 import Fp8Linear
from enliven.models.int8 import Int8Linear
from enliven.models.layers import Linear32
from enliven.models.quantised import QuantisedLinear, quantise_linears
from enliven.models.weights import load_weights, save_weights

KINDS = [Int8Linear, Fp8Linear]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> type[QuantisedLinear]:
    return request.param


def test_an_output_is_off_by_what_its_weights_are_off_by(kind: type[QuantisedLinear]) -> None:
    linear, x = nn.Linear(64, 32), torch.randn(5, 64)
    small = kind.quantised(linear)
    error = (small.weight - linear.weight).abs()
    off = (small(x) - linear(x)).abs()
    assert (off <= x.abs() @ error.T + 1e-5).all()
    assert 0.002 < off.mean() / linear(x).abs().mean() < 0.05


def test_it_takes_half_of_bfloat16_and_a_scale_for_each_output(kind: type[QuantisedLinear]) -> None:
    small = kind.quantised(nn.Linear(64, 32, bias=False))
    assert sum(value.nbytes for value in small.state_dict().values()) == 64 * 32 + 4 * 32


def test_precise_layers_stay_precise(kind: type[QuantisedLinear]) -> None:
    linear = Linear32(64, 32).bfloat16()
    x, layer = torch.randn(5, 64).bfloat16(), kind.quantised(linear)
    assert layer(x).dtype == torch.float32
    assert_close(layer(x), x.float() @ layer.weight_in(torch.float32).T + linear.bias.float())
    assert kind.quantised(nn.Linear(64, 32).bfloat16())(x).dtype == torch.bfloat16


def test_a_change_of_type_leaves_numbers_and_scales(kind: type[QuantisedLinear]) -> None:
    layer = kind.quantised(nn.Linear(8, 8))
    before = copy.deepcopy(layer.state_dict())
    layer.to(torch.bfloat16)
    for name in (kind.format.tensor, "weight_scale"):
        assert layer.state_dict()[name].dtype == before[name].dtype
        assert torch.equal(layer.state_dict()[name].float(), before[name].float())
    assert layer.weight.dtype == torch.bfloat16
    assert layer.bias is not None
    assert layer.bias.dtype == torch.bfloat16


def test_what_is_skipped_stays_and_the_rest_survives_the_disk(kind: type[QuantisedLinear], tmp_path: Path) -> None:
    def build() -> nn.Module:
        return nn.ModuleDict({"first": nn.Linear(16, 16), "final_layer": nn.ModuleDict({"linear": nn.Linear(16, 4)})})

    network = quantise_linears(build(), kind)
    assert isinstance(network.get_submodule("final_layer.linear"), nn.Linear)
    save_weights(network, tmp_path, torch.bfloat16)
    loaded = load_weights(lambda: quantise_linears(build(), kind), tmp_path, torch.bfloat16)
    first, expected = loaded.get_submodule("first").state_dict(), network.get_submodule("first").state_dict()
    for name in (kind.format.tensor, "weight_scale"):
        assert first[name].dtype == expected[name].dtype
        assert torch.equal(first[name].float(), expected[name].float())


def test_a_network_without_memory_is_made_small_without(kind: type[QuantisedLinear]) -> None:
    with torch.device("meta"):
        network = quantise_linears(nn.Sequential(nn.Linear(8, 4)), kind)
    assert network.state_dict()[f"0.{kind.format.tensor}"].dtype == kind.format.dtype
    assert all(value.is_meta for value in network.state_dict().values())


def test_what_is_attached_is_not_lost(kind: type[QuantisedLinear]) -> None:
    network = nn.Sequential(nn.Linear(4, 4))
    network[0].add_module("lora_0", nn.Identity())
    with pytest.raises(ConfigError, match="0 has something attached"):
        quantise_linears(network, kind)
