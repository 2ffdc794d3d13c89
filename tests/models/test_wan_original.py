"""Tests of the authors' names of Wan 2.2 weights: as published, there and back, any width, nothing else."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from enliven.errors import WeightsError
from enliven.models.wan_autoencoder import WAN_2_2, WanAutoencoder, WanAutoencoderParams
from enliven.models.wan_original import LEFTOVER, from_original, original_names, read_original, to_original

PUBLISHED = {  # parameters of the published file, and what they are to diffusers
    "conv1.bias": "quant_conv.bias",
    "conv2.weight": "post_quant_conv.weight",
    "encoder.conv1.weight": "encoder.conv_in.weight",
    "encoder.downsamples.0.downsamples.1.residual.6.bias": "encoder.down_blocks.0.resnets.1.conv2.bias",
    "encoder.downsamples.0.downsamples.2.resample.1.weight": "encoder.down_blocks.0.downsampler.resample.1.weight",
    "encoder.downsamples.2.downsamples.2.time_conv.bias": "encoder.down_blocks.2.downsampler.time_conv.bias",
    "encoder.middle.2.residual.2.weight": "encoder.mid_block.resnets.1.conv1.weight",
    "encoder.head.0.gamma": "encoder.norm_out.gamma",
    "decoder.middle.0.residual.0.gamma": "decoder.mid_block.resnets.0.norm1.gamma",
    "decoder.middle.1.to_qkv.weight": "decoder.mid_block.attentions.0.to_qkv.weight",
    "decoder.upsamples.1.upsamples.3.time_conv.weight": "decoder.up_blocks.1.upsampler.time_conv.weight",
    "decoder.upsamples.3.upsamples.0.shortcut.bias": "decoder.up_blocks.3.resnets.0.conv_shortcut.bias",
    "decoder.upsamples.3.upsamples.2.residual.3.gamma": "decoder.up_blocks.3.resnets.2.norm2.gamma",
    "decoder.head.2.bias": "decoder.conv_out.bias",
}


@pytest.fixture(scope="module")
def autoencoder() -> WanAutoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return WanAutoencoder(WanAutoencoderParams({**WAN_2_2.config, "base_dim": 4, "decoder_base_dim": 2})).eval()


def test_names_are_the_published_ones_and_all_differ(autoencoder: WanAutoencoder) -> None:
    names = original_names(autoencoder.network.state_dict())
    assert {theirs: ours for ours, theirs in names.items() if theirs in PUBLISHED} == PUBLISHED
    assert len(set(names.values())) == len(names)
    assert not [name for name in names.values() if "block" in name or "sampler" in name]


def test_there_and_back(autoencoder: WanAutoencoder) -> None:
    state = autoencoder.network.state_dict()
    back = from_original(to_original(state))
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_a_file_of_a_narrow_decoder_is_read_whole(autoencoder: WanAutoencoder, tmp_path: Path) -> None:
    state = to_original(autoencoder.network.state_dict())
    save_file({**state, LEFTOVER + "0.weight": torch.zeros(3)}, tmp_path / "vae.safetensors")
    read = read_original(tmp_path / "vae.safetensors")
    assert read.params == autoencoder.params
    latents = torch.randn(1, 48, 2, 1, 2)
    assert torch.equal(read.decode(latents), autoencoder.decode(latents))


def test_other_files_are_refused(autoencoder: WanAutoencoder, tmp_path: Path) -> None:
    state = to_original(autoencoder.network.state_dict())
    state["decoder.conv9.weight"] = state.pop("decoder.conv1.weight")
    with pytest.raises(WeightsError, match=r"1 names not known \['decoder.conv9.weight'\], 1 missing"):
        from_original(state)
    (tmp_path / "vae.safetensors").write_bytes(b"a pickle")
    with pytest.raises(WeightsError, match="cannot read"):
        read_original(tmp_path / "vae.safetensors")
