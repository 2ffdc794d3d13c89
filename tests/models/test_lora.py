"""LoRA against the published one, beside and merged, and what is said of files that do not fit."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.testing import assert_close

from enliven.errors import ConfigError, WeightsError
from enliven.models.int8 import to_int8
from enliven.models.layers import Linear32
from enliven.models.longcat import LongCat, LongCatParams
from enliven.models.lora import Lora, attach_lora, fit_lora, merge_lora, read_lora
from enliven.models.wan import Wan, WanParams
from enliven.models.weights import read_weights, save_weights
from enliven.types import AttentionRule, Conditioning, LatentLayout, Role, Text
from golden_files import Case, golden
from published_folders import lora_key, write_lora


def network() -> nn.Module:
    return nn.ModuleDict({"qkv": nn.Linear(8, 12), "inner": nn.ModuleDict({"proj": Linear32(12, 6, bias=False)})})


def run(net: nn.Module, x: Tensor) -> Tensor:
    return net.get_submodule("inner.proj")(net.get_submodule("qkv")(x))


LAYERS = {"qkv": (12, 8, 3), "inner.proj": (6, 12, 1)}


@pytest.fixture
def lora(tmp_path: Path) -> Lora:
    return read_lora(write_lora(tmp_path / "one.safetensors", LAYERS))


def recorded(case: Case, letter: str, folder: Path) -> Lora:
    """One of the LoRAs of a recorded call, through a file."""
    state = {name[2:]: value.clone() for name, value in case.inputs.items() if name.startswith(letter + ".")}
    save_file(state, folder / f"{letter}.safetensors")
    return read_lora(folder / f"{letter}.safetensors")


def velocity(net: LongCat, case: Case) -> Tensor:
    inputs = case.inputs
    frames = inputs["hidden_states"].shape[2]
    text = Text(inputs["encoder_hidden_states"][:, 0], inputs["encoder_attention_mask"].bool())
    rules = (AttentionRule(range(frames), (range(frames),)),)
    layout = LatentLayout((Role.NOISE,) * frames, tuple(map(float, range(frames))), rules)
    sigma = inputs["timestep"].double()[:, None].expand(-1, frames) / 1000
    with torch.inference_mode():
        return net(inputs["hidden_states"], sigma, Conditioning(text, text, inputs["audio_embs"][:, None]), layout)


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize(("name", "strengths"), [("one", {"A": 1.0}), ("two", {"A": 1.0, "B": 0.7})])
def test_agrees_with_the_published_one(tmp_path: Path, name: str, strengths: dict[str, float], merged: bool) -> None:
    record = golden("lora")
    case = record.case(name)
    net = LongCat(LongCatParams.from_config(record.config | {"_class_name": "Avatar"}))
    net.load_state_dict(record.state_dict)
    plain = velocity(net, case)
    loras = {letter: recorded(case, letter, tmp_path) for letter in strengths}
    put = merge_lora if merged else attach_lora
    attached = [put(net, loras[letter], strength) for letter, strength in strengths.items()]
    assert_close(-velocity(net, case), case.outputs["out"], atol=5e-5, rtol=0.0)
    assert (plain + case.outputs["out"]).abs().max() > 1e-3, "the change should show"
    if name == "one" and not merged:
        attached[0].detach()
        assert_close(-velocity(net, case), case.outputs["out_disabled"], atol=5e-5, rtol=0.0)


@pytest.mark.parametrize("merged", [False, True])
def test_a_layer_in_parts_agrees_with_the_published_one(tmp_path: Path, merged: bool) -> None:
    inputs = golden("lora").case("linear_n3").inputs
    state = {lora_key("layer", name.removeprefix("lora.")): value for name, value in inputs.items() if "lora" in name}
    save_file(state | {lora_key("layer", "alpha_scale"): torch.tensor(0.5)}, tmp_path / "lora.safetensors")
    net = nn.ModuleDict({"layer": nn.Linear(10, 12)})
    net.load_state_dict({"layer.weight": inputs["weight"], "layer.bias": inputs["bias"]})
    (merge_lora if merged else attach_lora)(net, read_lora(tmp_path / "lora.safetensors"), 0.8)
    expected = golden("lora").case("linear_n3").outputs["out"]
    assert_close(net.get_submodule("layer")(inputs["x"]), expected, atol=5e-6, rtol=0.0)


def test_merged_and_beside_are_the_same(lora: Lora, tmp_path: Path) -> None:
    other = read_lora(write_lora(tmp_path / "two.safetensors", {"qkv": (12, 8, 3)}, rank=4, seed=1))
    beside, merged, x = network(), network(), torch.randn(2, 5, 8)
    merged.load_state_dict(beside.state_dict())
    for each, strength in ((lora, 0.3), (other, -1.2)):
        attach_lora(beside, each, strength)
        merge_lora(merged, each, strength)
    assert_close(run(beside, x), run(merged, x), atol=1e-5, rtol=1e-5)


def test_detaching_leaves_the_network_as_it_was(lora: Lora) -> None:
    net, x = network(), torch.randn(4, 8)
    names, before = list(net.state_dict()), run(net, x)
    first, second = attach_lora(net, lora), attach_lora(net, lora, 0.5)
    assert list(net.state_dict()) == names, "adapters are not saved with the weights"
    both = run(net, x)
    first.detach()
    alone = run(net, x)
    third = attach_lora(net, lora, 1.0)
    assert_close(run(net, x), both)
    assert not torch.equal(alone, before)
    for each in (second, third, third):
        each.detach()
    assert torch.equal(run(net, x), before)
    assert len(list(net.modules())) == 4


def test_merging_with_the_strength_negated_undoes_it(lora: Lora) -> None:
    net, x = network(), torch.randn(4, 8)
    before = run(net, x)
    merge_lora(net, lora, 0.6)
    assert not torch.allclose(run(net, x), before, atol=1e-2)
    merge_lora(net, lora, -0.6)
    assert_close(run(net, x), before, atol=1e-5, rtol=1e-5)


def test_strength_may_change_between_passes(lora: Lora) -> None:
    net, x = nn.ModuleDict({"qkv": nn.Linear(8, 12)}), torch.randn(4, 8)
    layer = net.get_submodule("qkv")
    before = layer(x)
    attached = attach_lora(net, Lora(lora.path, {"qkv": lora.changes["qkv"]}))
    full = layer(x) - before
    attached.strength = 0.3
    assert_close(layer(x) - before, 0.3 * full, atol=1e-5, rtol=1e-5)
    attached.strength = 0.0
    assert torch.equal(layer(x), before)
    with pytest.raises(ConfigError, match="strength nan"):
        attached.strength = float("nan")


def test_a_precise_layer_is_changed_precisely(lora: Lora) -> None:
    net, x = network().bfloat16(), torch.randn(64, 12)
    layer, change = net.get_submodule("inner.proj"), lora.changes["inner.proj"]
    before = layer(x)
    attach_lora(net, lora)
    down, up = change.down.bfloat16().float()[0], change.up.bfloat16().float()[0]
    assert_close(layer(x) - before, 0.5 * x @ down.T @ up.T, atol=1e-4, rtol=1e-4)


def test_small_weights_take_a_lora_beside_them_only(lora: Lora) -> None:
    net, x = network(), torch.randn(4, 8)
    small, before = to_int8(copy.deepcopy(net)), run(net, x)
    attach_lora(net, lora)
    effect = run(net, x) - before
    with pytest.raises(ConfigError, match="qkv has something attached"):
        to_int8(net)
    with pytest.raises(WeightsError, match="weights of 8 bits"):
        merge_lora(small, lora)
    attached = attach_lora(small, lora)
    assert_close(run(small, x) - before, effect, atol=0.2, rtol=0.05)
    attached.detach()


def test_a_copy_has_an_adapter_of_its_own(lora: Lora) -> None:
    net, x = network(), torch.randn(4, 8)
    attached = attach_lora(net, lora)
    changed, twin = run(net, x), copy.deepcopy(net)
    attached.strength = 0.0
    assert torch.equal(run(twin, x), changed)
    assert not torch.equal(run(net, x), changed)


def test_adapters_convert_with_their_layer_and_stay_out_of_files(lora: Lora, tmp_path: Path) -> None:
    net = network()
    attach_lora(net, lora)
    net.double()
    assert run(net, torch.randn(4, 8).double()).dtype == torch.float32  # the last layer always computes so
    save_weights(net, tmp_path / "saved")
    assert sorted(read_weights(tmp_path / "saved")) == ["inner.proj.weight", "qkv.bias", "qkv.weight"]


def test_other_backbones_take_one_too(tmp_path: Path) -> None:
    params = WanParams(num_attention_heads=2, attention_head_dim=8, num_layers=2, ffn_dim=32, text_dim=8, freq_dim=8)
    with torch.device("meta"):
        wan = Wan(params)
    layers = {
        name: (layer.out_features, layer.in_features, 1)
        for name, layer in wan.named_modules()
        if isinstance(layer, nn.Linear) and "blocks" in name
    }
    assert len(layers) > 10
    attach_lora(wan, read_lora(write_lora(tmp_path / "wan.safetensors", layers)))


def test_whether_it_fits_is_known_from_its_header(tmp_path: Path) -> None:
    with torch.device("meta"):
        net = network()
    path = write_lora(tmp_path / "lora.safetensors", LAYERS)
    fit_lora(net, path)
    with pytest.raises(WeightsError, match="2 of 2 layers"):
        fit_lora(nn.Linear(3, 3), path)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"there is no LoRA at .*dmd_lora\.safetensors"):
        read_lora(tmp_path / "dmd_lora.safetensors")


def test_names_of_another_format_are_refused(tmp_path: Path) -> None:
    state = load_file(write_lora(tmp_path / "whole.safetensors", LAYERS)) | {"blocks.0.lora_A.weight": torch.zeros(1)}
    save_file(state, tmp_path / "lora.safetensors")
    with pytest.raises(WeightsError, match=r"1 of 9 names are others \(blocks\.0\.lora_A\.weight\)"):
        read_lora(tmp_path / "lora.safetensors")
    save_file({}, tmp_path / "lora.safetensors")
    with pytest.raises(WeightsError, match="is no LoRA"):
        read_lora(tmp_path / "lora.safetensors")


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (lora_key("qkv", "lora_up.blocks.1.weight"), r"qkv in .* has "),
        (lora_key("qkv", "alpha_scale"), r"expected alpha_scale, lora_down"),
        (lora_key("inner.proj", "lora_down.weight"), r"inner\.proj in .* has "),
    ],
)
def test_an_incomplete_layer_is_refused(tmp_path: Path, part: str, said: str) -> None:
    state = load_file(write_lora(tmp_path / "whole.safetensors", LAYERS))
    del state[part]
    save_file(state, tmp_path / "lora.safetensors")
    with pytest.raises(WeightsError, match=said):
        read_lora(tmp_path / "lora.safetensors")


def test_layers_that_are_not_there_or_of_another_size_are_named_and_nothing_is_changed(tmp_path: Path) -> None:
    net, x = network(), torch.randn(4, 8)
    before = run(net, x)
    for put in (attach_lora, merge_lora):
        lacking = read_lora(write_lora(tmp_path / "a.safetensors", {**LAYERS, "blocks.0.attn.proj": (8, 8, 1)}))
        with pytest.raises(WeightsError, match=r"1 of 3 layers .* are not in this network \(blocks\.0\.attn\.proj\)"):
            put(net, lacking)
        wrong = read_lora(write_lora(tmp_path / "b.safetensors", {**LAYERS, "inner.proj": (6, 10, 1)}))
        with pytest.raises(WeightsError, match=r"inner\.proj: \(6, 10\) for \(6, 12\)"):
            put(net, wrong)
    assert torch.equal(run(net, x), before)
