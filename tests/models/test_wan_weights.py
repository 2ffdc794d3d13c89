"""Names of the original and of diffusers, one into the other; loading either, with ears or without."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers
from safetensors.torch import save_file
from torch import Tensor
from torch.testing import assert_close

from enliven.errors import WeightsError
from enliven.models.wan import Wan, WanParams
from enliven.models.wan_audio import WanAudioParams
from enliven.models.wan_weights import diffusers_name, fill_wan, to_diffusers, to_original
from enliven.models.weights import load_weights

AUDIO = WanAudioParams(audio_window=2, audio_block=1, audio_channel=4, intermediate_dim=8, tokens=2, gate_init=0.5)


def network(audio: WanAudioParams | None = None, layers: int = 2) -> Wan:
    sizes = {"in_channels": 4, "out_channels": 4, "num_attention_heads": 2, "attention_head_dim": 8}
    built = Wan(WanParams(**sizes, num_layers=layers, ffn_dim=24, text_dim=12, freq_dim=16, audio=audio))
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter)
    return built


def full_size(audio: WanAudioParams | None = None) -> dict[str, Tensor]:
    with torch.device("meta"):
        return Wan(WanParams(audio=audio)).state_dict()


def test_every_name_converts_and_comes_back() -> None:
    state = full_size(WanAudioParams())
    original = to_original(state)
    assert len(original) == len(state)
    assert list(to_diffusers(original)) == list(state)
    assert all(original[there] is state[here] for there, here in zip(original, state, strict=True))


def test_names_convert_as_in_diffusers() -> None:
    original = to_original(full_size())
    assert len(original) == 825
    assert set(to_diffusers(original)) == set(convert_wan_transformer_to_diffusers(dict(original)))


def test_the_original_names_are_those_of_the_published_network() -> None:
    top = {name for name in to_original(full_size()) if not name.startswith("blocks.")}
    layers = ["patch_embedding", "text_embedding.0", "text_embedding.2", "time_embedding.0", "time_embedding.2"]
    expected = {
        f"{layer}.{kind}" for layer in [*layers, "time_projection.1", "head.head"] for kind in ("weight", "bias")
    }
    assert top == expected | {"head.modulation"}
    inside = {name.removeprefix("blocks.7.") for name in to_original(full_size()) if name.startswith("blocks.7.")}
    linear = [f"{attention}_attn.{letter}" for attention in ("self", "cross") for letter in "qkvo"]
    expected = {f"{layer}.{kind}" for layer in [*linear, "norm3", "ffn.0", "ffn.2"] for kind in ("weight", "bias")}
    norms = {f"{attention}_attn.norm_{letter}.weight" for attention in ("self", "cross") for letter in "qk"}
    assert inside == expected | norms | {"modulation"}


@pytest.mark.parametrize("convert", [to_original, to_diffusers])
def test_converted_names_stay(convert: Callable[..., dict[str, Tensor]]) -> None:
    once = convert(full_size(WanAudioParams()))
    assert list(convert(once)) == list(once)


@pytest.mark.parametrize("convert", [to_original, to_diffusers])
def test_a_network_with_ears_takes_the_weights_of_one_without(convert: Callable[..., dict[str, Tensor]]) -> None:
    plain, hearing = network(), network(AUDIO)
    before = {name: value.clone() for name, value in hearing.state_dict().items()}
    fill_wan(hearing, convert(plain.state_dict()))
    after = hearing.state_dict()
    assert_close({name: after[name] for name in plain.state_dict()}, dict(plain.state_dict()), atol=0, rtol=0)
    for block, source in zip(hearing.blocks, plain.blocks, strict=True):
        assert_close(block.attn_audio.state_dict(), source.attn2.state_dict(), atol=0, rtol=0)
        assert_close(block.norm_audio.state_dict(), source.norm2.state_dict(), atol=0, rtol=0)
    kept = [name for name in before if name.startswith("audio_proj") or name.endswith("audio_gate")]
    assert len(kept) == 10
    assert all(torch.equal(after[name], before[name]) for name in kept)


@pytest.mark.parametrize("convert", [to_original, to_diffusers])
def test_trained_audio_layers_are_not_copied_over(convert: Callable[..., dict[str, Tensor]]) -> None:
    trained, fresh = network(AUDIO), network(AUDIO)
    fill_wan(fresh, convert(trained.state_dict()))
    assert_close(dict(fresh.state_dict()), dict(trained.state_dict()), atol=0, rtol=0)


def test_weights_of_another_number_type_are_taken() -> None:
    plain, other = network(), network()
    fill_wan(other, {name: value.bfloat16() for name, value in plain.state_dict().items()})
    assert other.proj_out.weight.dtype == torch.float32
    assert_close(other.proj_out.weight, plain.proj_out.weight, atol=0.02, rtol=0.01)


@pytest.mark.parametrize("convert", [to_original, to_diffusers])
def test_folders_under_either_names_are_read(convert: Callable[..., dict[str, Tensor]], tmp_path: Path) -> None:
    plain = network()
    save_file(convert(plain.state_dict()), tmp_path / "model.safetensors")
    loaded = load_weights(lambda: Wan(plain.params), tmp_path, rename=diffusers_name)
    assert_close(dict(loaded.state_dict()), dict(plain.state_dict()), atol=0, rtol=0)


def test_every_misfit_is_reported_and_nothing_changed() -> None:
    hearing = network(AUDIO)
    before = {name: value.clone() for name, value in hearing.state_dict().items()}
    state = to_original(network().state_dict())
    state["blocks.1.norm3.weight"] = torch.zeros(3)
    del state["head.head.bias"], state["blocks.0.self_attn.o.bias"]
    state["img_emb.proj.0.weight"] = torch.zeros(3)
    with pytest.raises(WeightsError) as caught:
        fill_wan(hearing, state)
    message = str(caught.value)
    assert "2 missing (" in message
    for name in ("blocks.0.attn1.to_out.0.bias", "proj_out.bias"):
        assert name in message
    assert "1 not expected (img_emb.proj.0.weight)" in message
    assert "1 of another shape (blocks.1.norm2.weight is (3,), expected (16,))" in message
    assert all(torch.equal(value, before[name]) for name, value in hearing.state_dict().items())


def test_ears_are_not_dropped_silently_nor_taken_by_halves() -> None:
    state = network(AUDIO).state_dict()
    with pytest.raises(WeightsError, match="34 not expected"):
        fill_wan(network(), state)
    del state["blocks.1.audio_gate"]
    with pytest.raises(WeightsError, match=r"1 missing \(blocks\.1\.audio_gate\)"):
        fill_wan(network(AUDIO), state)
    with pytest.raises(WeightsError, match="27 missing"):
        fill_wan(network(layers=3), network().state_dict())
