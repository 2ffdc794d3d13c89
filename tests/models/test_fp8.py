"""Floating-point weights of 8 bits, against what 3 bits of fraction promise."""

import math

import pytest
import torch
from torch.testing import assert_close

from enliven.models.fp8 import FP8, Fp8Linear, to_fp8
from enliven.models.int8 import INT8, to_int8
from enliven.models.longcat import LongCat, LongCatParams
from enliven.models.quantised import Format
from golden_files import golden


def every_number() -> torch.Tensor:
    """All 253 finite numbers of e4m3, by their definition: sign, exponent with a bias of 7, fraction."""
    magnitudes = [
        (1 + fraction / 8) * 2.0 ** (exponent - 7) if exponent else fraction / 8 * 2.0**-6
        for exponent in range(16)
        for fraction in range(8)
        if (exponent, fraction) != (15, 7)  # not a number
    ]
    return torch.tensor(sorted({sign * number for sign in (-1, 1) for number in magnitudes}))


def test_every_number_of_the_format_is_kept_exactly() -> None:
    numbers = every_number()
    assert len(numbers) == 253
    weight = torch.stack([numbers, numbers.flip(0) * 2.0**-9])
    stored, scale = FP8.quantise(weight)
    assert stored.dtype == torch.float8_e4m3fn
    assert scale.tolist() == [1, 2.0**-9]
    assert torch.equal(stored.float() * scale[:, None], weight)


def test_a_weight_is_off_by_a_sixteenth_of_itself_at_most() -> None:
    weight = torch.randn(64, 512) * torch.logspace(-6, 3, 64)[:, None]
    weight[3] = 0
    stored, scale = FP8.quantise(weight)
    exact = weight / scale[:, None]
    error = (stored.float() - exact).abs()
    # Half of a last place: of 2 ** -3 below the leading bit, and of 2 ** -9 where there is none.
    half = torch.maximum(2.0 ** (exact.abs().log2().floor() - 4), torch.tensor(2.0**-10))
    assert (error <= half * (1 + 1e-5)).all()
    assert (error <= torch.maximum(exact.abs() / 16, torch.tensor(2.0**-10)) * (1 + 1e-5)).all()
    assert (error / half).amax() > 0.99
    assert not stored[3].float().any()
    assert stored.float().isfinite().all()


def test_the_mean_error_is_that_of_rounding_evenly() -> None:
    """Between two powers of two, errors are spread evenly over a last place: their mean square is a twelfth of it."""
    weight = torch.empty(1, 200_001).uniform_(16, 32)
    weight[0, 0] = 448  # so that the scale is 1
    stored, _ = FP8.quantise(weight)
    error = (stored.float() - weight)[0, 1:]
    assert_close(error.square().mean().sqrt().item(), 2 / math.sqrt(12), rtol=0.01, atol=0)
    assert abs(error.mean().item()) < 0.01


def test_a_layer_computes_in_the_type_of_its_input() -> None:
    stored, scale = FP8.quantise(torch.randn(16, 24))
    layer, x = Fp8Linear(stored, scale, None), torch.randn(5, 24).bfloat16()
    expected = x @ (stored.bfloat16() * scale.bfloat16()[:, None]).T
    assert torch.equal(layer(x), expected)
    assert_close(layer(x.float()), x.float() @ (stored.float() * scale[:, None]).T)


@pytest.mark.parametrize("shrink", [to_fp8, to_int8])
def test_a_network_of_small_weights_has_nearly_the_same_outputs(shrink: object) -> None:
    record = golden("base_dit")
    network = LongCat(LongCatParams.from_config(record.config))
    network.load_state_dict(record.state_dict)
    x, block = torch.randn(7, 64), network.blocks[0].ffn
    before = block(x)
    after = shrink(network).blocks[0].ffn(x)  # type: ignore[operator]
    off = (after - before).square().mean().sqrt() / before.square().mean().sqrt()
    assert 0.003 < off < 0.08


def test_of_normal_weights_int8_keeps_more() -> None:
    """A step of int8 is a 127th of the largest weight of a row; of fp8, about a tenth of the weight itself."""
    weight = torch.randn(64, 4096)
    off = {shrunk.tensor: error(shrunk, weight) for shrunk in (INT8, FP8)}
    peak = weight.abs().amax(dim=1).square().mean().sqrt().item()
    assert_close(off["weight_int8"], peak / 127 / math.sqrt(12), rtol=0.02, atol=0)
    assert 2.5 < off["weight_fp8"] / off["weight_int8"] < 4
    weight[:, 0] = 100  # now a step of int8 is most of the other weights
    assert error(FP8, weight) < 0.2 * error(INT8, weight)


def error(shrunk: Format, weight: torch.Tensor) -> float:
    stored, scale = shrunk.quantise(weight)
    return (stored.float() * scale[:, None] - weight)[:, 1:].square().mean().sqrt().item()
