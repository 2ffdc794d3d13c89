"""Weights of 8 bits that are floating-point numbers: 4 bits of exponent and 3 of fraction (e4m3).

A weight is off by a sixteenth of itself at most; those of int8 are all off by up to half of the same step. So int8
keeps more of weights that are spread normally, and fp8 more where one of a row is far larger. Nothing is published so.
"""

from typing import TypeVar

import torch
from torch import Tensor, nn

from enliven.models.quantised import SKIPPED, Format, QuantisedLinear, quantise_linears

FP8 = Format(torch.float8_e4m3fn, 448, "weight_fp8")

Network = TypeVar("Network", bound=nn.Module)


class Fp8Linear(QuantisedLinear):
    """A linear layer whose weights are off by a sixteenth of themselves, or by 2 ** -10 of a scale, at most."""

    format = FP8
    weight_fp8: Tensor


def to_fp8(network: Network, skipped: tuple[str, ...] = SKIPPED) -> Network:
    """See ``quantise_linears``."""
    return quantise_linears(network, Fp8Linear, skipped)
