"""Small weights, against the published ones and what halving a scale promises."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from enliven.errors import ConfigError
from enliven.models.int8 import INT8, METHOD, Int8Linear, skipped_layers, to_int8
from enliven.models.longcat import LongCat, LongCatParams
from enliven.models.weights import load_weights, save_weights
from enliven.types import AttentionRule, Conditioning, LatentLayout, Role, Text
from golden_files import Golden, golden


def published(record: Golden) -> LongCat:
    return LongCat(LongCatParams.from_config(record.config | {"_class_name": "Avatar"}))


def velocity(network: LongCat, record: Golden) -> Tensor:
    """The recorded call: three noise frames and nothing given."""
    inputs = record.case("dit").inputs
    frames = inputs["hidden_states"].shape[2]
    text = Text(inputs["encoder_hidden_states"][:, 0], inputs["encoder_attention_mask"].bool())
    rules = (AttentionRule(range(frames), (range(frames),)),)
    layout = LatentLayout((Role.NOISE,) * frames, tuple(map(float, range(frames))), rules)
    sigma = inputs["timestep"].double()[:, None].expand(-1, frames) / 1000
    cond = Conditioning(text, text, inputs["audio_embs"][:, None])
    with torch.inference_mode():
        return network(inputs["hidden_states"], sigma, cond, layout)


def test_a_layer_agrees_with_the_published_one() -> None:
    case = golden("int8").case("linear")
    numbers, scale = INT8.quantise(case.inputs["weight"])
    assert torch.equal(numbers, case.outputs["weight_int8"])
    assert torch.equal(scale, case.outputs["weight_scale"])
    layer = Int8Linear(numbers, scale, case.outputs["bias_bf16"])
    assert_close(layer(case.inputs["x"]), case.outputs["out_fp32"], atol=1e-6, rtol=1e-6)
    assert torch.equal(layer(case.inputs["x"].bfloat16()), case.outputs["out_bf16"])


def test_quantising_a_network_gives_the_published_weights_and_velocity() -> None:
    record = golden("int8")
    network = published(record)
    network.load_state_dict(record.state_dict)
    network = to_int8(network.bfloat16())
    expected = {name[2:]: value for name, value in record.case("dit").outputs.items() if name.startswith("q/")}
    state = network.state_dict()
    assert set(state) == set(expected)
    assert all(torch.equal(state[name], value) for name, value in expected.items())
    assert_close(-velocity(network, record), record.case("dit").outputs["out"], atol=0.12, rtol=0.0)


def test_small_weights_are_those_numbers_to_half_a_step() -> None:
    weight = torch.randn(32, 48) * torch.logspace(-6, 3, 32)[:, None]
    weight[3] = 0
    numbers, scale = INT8.quantise(weight)
    error = (numbers * scale[:, None] - weight).abs() / scale[:, None]
    assert error.max() <= 0.5 + 1e-4
    assert error.max() > 0.4
    assert not numbers[3].any()
    again, same = INT8.quantise(numbers * scale[:, None])
    assert torch.equal(again, numbers)
    assert_close(same[scale > 1e-9], scale[scale > 1e-9])


def test_skipped_layers_stay_as_they_are_and_the_rest_survives_the_disk(tmp_path: Path) -> None:
    def build() -> nn.Module:
        return nn.ModuleDict({"first": nn.Linear(16, 16), "final_layer": nn.ModuleDict({"linear": nn.Linear(16, 4)})})

    network = to_int8(build())
    assert isinstance(network.get_submodule("final_layer.linear"), nn.Linear)
    save_weights(network, tmp_path, torch.bfloat16)
    loaded = load_weights(lambda: to_int8(build()), tmp_path, torch.bfloat16)
    first, expected = loaded.get_submodule("first"), network.get_submodule("first")
    assert torch.equal(first.weight_int8, expected.weight_int8)
    assert torch.equal(first.weight_scale, expected.weight_scale)
    assert not first.weight_int8.is_meta


def test_another_way_to_quantise_is_refused() -> None:
    assert skipped_layers({"quantization_method": METHOD, "skip_patterns": ["last"]}) == ("last",)
    with pytest.raises(ConfigError, match="'nf4'"):
        skipped_layers({"quantization_method": "nf4"})
