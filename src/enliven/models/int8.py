"""Weights that are whole numbers: half the memory of bfloat16 at nearly the same result.

Names and values are those of the published int8 weights of LongCat-Video-Avatar 1.5.
"""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from enliven.errors import ConfigError
from enliven.models.quantised import SKIPPED, Format, QuantisedLinear, quantise_linears

METHOD = "int8_per_channel_symmetric"  # what a published quantization_config.json calls this
INT8 = Format(torch.int8, 127, "weight_int8")

Network = TypeVar("Network", bound=nn.Module)


class Int8Linear(QuantisedLinear):
    """A linear layer whose weights are off by half a scale at most."""

    format = INT8
    weight_int8: Tensor


def to_int8(network: Network, skipped: tuple[str, ...] = SKIPPED) -> Network:
    """See ``quantise_linears``."""
    return quantise_linears(network, Int8Linear, skipped)


def skipped_layers(config: dict[str, Any]) -> tuple[str, ...]:
    """The names that a published ``quantization_config.json`` leaves alone.

    Raises ConfigError for another method than ours.
    """
    if config.get("quantization_method") != METHOD:
        raise ConfigError(
            f"weights quantised by {config.get('quantization_method')!r}; only {METHOD} is known",
            hint="take the bf16 weights",
        )
    return tuple(config.get("skip_patterns", SKIPPED))
