"""Rotary positions against tensors of the published network; the float32 regions."""

import math

import pytest
import torch
from torch.testing import assert_close

from enliven.errors import ConfigError, RequestError
from enliven.models.layers import (
    LayerNorm32,
    Linear32,
    PatchEmbedding,
    RMSNorm,
    add_gated,
    rope_table,
    rotate,
    timestep_embedding,
)
from golden_files import golden

ROPE_CASES = ["r0_base", "r1_avatar", "r2_avatar", "r3_avatar", "r4_avatar", "r5_avatar"]


@pytest.mark.parametrize("name", ROPE_CASES)
def test_rotation_agrees_with_the_published_one(name: str) -> None:
    case = golden("rope").case(name)
    frames, rows, columns = case.args["grid"]
    index = case.args["frame_index"] if case.args["num_ref_latents"] else None
    positions = [float(i) for i in range(frames)] if index is None else [float(index), *map(float, range(frames - 1))]
    table = rope_table(positions, rows, columns, case.args["head_dim"])
    for key in ("q", "k"):
        x = case.inputs[key].transpose(1, 2).unflatten(1, (frames, rows * columns))
        turned = rotate(x, table).flatten(1, 2).transpose(1, 2)
        assert_close(turned, case.outputs[key], atol=5e-5, rtol=0)


def test_products_of_rotated_vectors_depend_on_distance_alone() -> None:
    q, k = torch.randn(2, 1, 1, 1, 1, 24)

    def product(a: float, b: float) -> float:
        return float((rotate(q, rope_table([a], 1, 1, 24)) * rotate(k, rope_table([b], 1, 1, 24))).sum())

    assert product(3.5, -1.0) == pytest.approx(product(14.5, 10.0), abs=1e-4)
    assert product(3.5, -1.0) != pytest.approx(product(3.5, 1.0), abs=1e-4)


def test_a_head_that_cannot_be_divided_is_refused() -> None:
    with pytest.raises(ConfigError, match="20 is not a multiple of 8"):
        rope_table([0.0], 1, 1, 20)


def test_linear32_keeps_float32_whatever_surrounds_it() -> None:
    layer, x = Linear32(64, 64), torch.randn(8, 64)
    exact = torch.nn.functional.linear(x, layer.weight, layer.bias)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(x), exact)
    rounded = layer.bfloat16()(x.bfloat16())
    assert rounded.dtype == torch.float32
    assert (rounded - rounded.bfloat16().float()).abs().max() > 1e-4


@pytest.mark.parametrize("norm", [LayerNorm32(64, eps=1e-6), RMSNorm(64)])
def test_norms_of_rounded_numbers_are_computed_exactly(norm: torch.nn.Module) -> None:
    x = (100 + torch.randn(4, 64)).bfloat16()
    exact = norm.double()(x.double())
    assert_close(norm.bfloat16()(x).double(), exact.double(), atol=0.02, rtol=0.01)


def test_timestep_embedding_is_cosines_then_sines() -> None:
    cosines, sines = timestep_embedding(torch.tensor([0.0, 250.0]), 4).chunk(2, -1)
    assert_close(cosines, torch.tensor([[1, 1], [math.cos(250), math.cos(2.5)]]), atol=1e-5, rtol=0)
    assert_close(sines, torch.tensor([[0, 0], [math.sin(250), math.sin(2.5)]]), atol=1e-5, rtol=0)
    assert timestep_embedding(torch.tensor([7.0]), 5)[0, -1] == 0


def test_small_gated_steps_survive_rounding_only_once() -> None:
    x, y = torch.ones(1, 1, 1, 1).bfloat16(), torch.full((1, 1, 1, 1), 3.0).bfloat16()
    gate = torch.full((1, 1, 1, 1), 0.001301)
    assert add_gated(x, gate, y) == torch.tensor(1.003903).bfloat16()


def test_patches_are_embedded_as_by_the_convolution() -> None:
    network, latents = PatchEmbedding(4, 12, (1, 2, 3)), torch.randn(2, 4, 3, 4, 9)
    convolved = torch.nn.functional.conv3d(latents, network.weight, network.bias, stride=(1, 2, 3))
    assert_close(network(latents), convolved.flatten(3).permute(0, 2, 3, 1), atol=1e-5, rtol=0)
    with pytest.raises(RequestError, match="4 x 8 latent cells cannot be cut into 2 x 3 patches"):
        network(latents[..., 1:])
