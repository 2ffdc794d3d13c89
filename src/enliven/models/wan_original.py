"""Weights of Wan 2.2 autoencoders under the names that their authors gave them, as in ``Wan2.2_VAE``.

Pickles are not read: store the tensors as safetensors first.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from enliven.errors import WeightsError
from enliven.models.wan_autoencoder import WAN_2_2, WanAutoencoder, WanAutoencoderParams

LEFTOVER = "dynamic_feature_projection_heads."  # of a distillation; no part of the decoder

# Pieces of our names and of theirs, in the order in which they are replaced.
RENAMED = (
    (r"^post_quant_conv\.", "conv2."),
    (r"^quant_conv\.", "conv1."),
    (r"coder\.conv_in\.", "coder.conv1."),
    (r"coder\.norm_out\.", "coder.head.0."),
    (r"coder\.conv_out\.", "coder.head.2."),
    (r"mid_block\.resnets\.0\.", "middle.0."),
    (r"mid_block\.attentions\.0\.", "middle.1."),
    (r"mid_block\.resnets\.1\.", "middle.2."),
    (r"down_blocks\.(\d+)\.resnets\.", r"downsamples.\1.downsamples."),
    (r"up_blocks\.(\d+)\.resnets\.", r"upsamples.\1.upsamples."),
    (r"\.norm1\.", ".residual.0."),
    (r"(?<=\d)\.conv1\.", ".residual.2."),
    (r"\.norm2\.", ".residual.3."),
    (r"\.conv2\.", ".residual.6."),
    (r"\.conv_shortcut\.", ".shortcut."),
)


def original_names(names: Iterable[str]) -> dict[str, str]:
    """The authors' name of each parameter of the diffusers network, by its own name.

    Their levels are one list, the resampling last; ours keep it beside the residual blocks.
    """
    names = list(names)
    found = {}
    for name in names:
        renamed = re.sub(r"(down|up)_blocks\.(\d+)\.\1sampler\.", lambda match: _resampling(match, names), name)
        for ours, theirs in RENAMED:
            renamed = re.sub(ours, theirs, renamed)
        found[name] = renamed
    return found


def to_original(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a diffusers network under the authors' names."""
    names = original_names(state)
    return {names[name]: value for name, value in state.items()}


def from_original(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of the authors' network under diffusers' names. Raises WeightsError where a name is not known."""
    with torch.device("meta"):
        known = WanAutoencoder(WAN_2_2).network.state_dict()
    names = {theirs: ours for ours, theirs in original_names(known).items()}
    state = {name: value for name, value in state.items() if not name.startswith(LEFTOVER)}
    strange, missing = sorted(state.keys() - names.keys()), sorted(names.keys() - state.keys())
    if strange or missing:
        raise WeightsError(
            f"not a Wan 2.2 autoencoder: {len(strange)} names not known {strange[:3]}, {len(missing)} missing "
            f"{missing[:3]}",
            hint="give Wan2.2_VAE, or one with a narrower decoder, stored as safetensors under the authors' names",
        )
    return {names[name]: value for name, value in state.items()}


def read_original(path: Path) -> WanAutoencoder:
    """The autoencoder in a safetensors file of the authors' layout, of any width, ready to run. Raises WeightsError."""
    try:
        state = from_original(load_file(path))
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"cannot read {path}: {error}", hint="it is missing or cut short: fetch it again") from error
    widths = {
        "base_dim": state["encoder.conv_in.weight"].shape[0],
        "decoder_base_dim": state["decoder.conv_in.weight"].shape[0] // WAN_2_2.config["dim_mult"][-1],
    }
    autoencoder = WanAutoencoder(WanAutoencoderParams({**WAN_2_2.config, **widths}))
    try:
        autoencoder.network.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"the tensors in {path} do not fit each other: {error}", hint="fetch it again") from error
    return autoencoder.eval().requires_grad_(requires_grad=False)


def _resampling(match: re.Match[str], names: list[str]) -> str:
    way, level = match[1], match[2]
    before = {name.split(".")[4] for name in names if re.search(rf"coder\.{way}_blocks\.{level}\.resnets\.", name)}
    return f"{way}samples.{level}.{way}samples.{len(before)}."
