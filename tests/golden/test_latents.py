"""Latents as the published code normalises them, measured where they enter and leave the Wan network."""

from typing import Any

import torch
from torch import Tensor
from torch.testing import assert_close

from enliven.models.wan_autoencoder import WanAutoencoder, WanAutoencoderParams
from golden_files import golden


def test_latents_are_normalised_as_published() -> None:
    case = golden("guidance").case("latent_norm")
    z = case.inputs["z"]
    autoencoder = WanAutoencoder(WanAutoencoderParams({"base_dim": 8, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1}))
    heard: list[Tensor] = []

    def speak(module: Any, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        return torch.cat([z, torch.zeros_like(z)], 1)

    autoencoder.network.quant_conv.register_forward_hook(speak)
    autoencoder.network.post_quant_conv.register_forward_pre_hook(lambda module, inputs: heard.append(inputs[0]))
    latents = autoencoder.encode(torch.zeros(1, 3, 4 * z.shape[2] - 3, 8 * z.shape[3], 8 * z.shape[4]))
    assert_close(latents, case.outputs["normalized"], atol=1e-6, rtol=0)
    autoencoder.decode(latents)
    assert_close(heard[0], case.outputs["denormalized"], atol=1e-5, rtol=0)
