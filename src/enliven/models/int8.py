"""Weights of 8 bits: linear layers that keep whole numbers and one scale for each output.

Half the memory of bfloat16 at nearly the same result. Only weights are small: a layer multiplies them back into the
type of its input and computes as before. Names and values are those of the published int8 weights of
LongCat-Video-Avatar 1.5.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int8
from torch import Tensor, nn

from enliven.errors import ConfigError
from enliven.models.layers import Linear32

METHOD = "int8_per_channel_symmetric"  # what a published quantization_config.json calls this
SKIPPED = ("final_layer.linear",)  # published as not quantised: errors of the last layer are seen as they are
LARGEST = 127
SMALLEST_PEAK = 1e-8  # of a row, so that a row of zeros has a scale too

Network = TypeVar("Network", bound=nn.Module)


def quantise(weight: Float[Tensor, "c_out c_in"]) -> tuple[Int8[Tensor, "c_out c_in"], Float32[Tensor, "c_out"]]:
    """Whole numbers and the scale of each row, so that ``numbers * scale`` is the weight to half a scale."""
    rows = weight.detach().float()
    scale = rows.abs().amax(dim=1).clamp(min=SMALLEST_PEAK) / LARGEST
    return (rows / scale[:, None]).round().clamp(-LARGEST - 1, LARGEST).to(torch.int8), scale


class Int8Linear(nn.Module):
    """A linear layer with weights of 8 bits, computed in the type of its input, or always in float32 (``precise``).

    Nothing in it is trained; adapters beside it can be.
    """

    weight_int8: Tensor
    weight_scale: Tensor

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None, *, precise: bool = False) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.precise = precise
        self.register_buffer("weight_int8", weight)
        self.register_buffer("weight_scale", scale)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)

    @classmethod
    def quantised(cls, linear: nn.Linear) -> "Int8Linear":
        """The layer with its weights made small; on the meta device there is nothing to compute."""
        weight = linear.weight
        small = _empty(weight) if weight.is_meta else quantise(weight)
        return cls(*small, linear.bias, precise=isinstance(linear, Linear32))

    @property
    def weight(self) -> Float[Tensor, "c_out c_in"]:
        """The weights as the layer uses them, in the type of its bias; float32 where it has none."""
        return self.weight_in(self.weight_scale.dtype if self.bias is None else self.bias.dtype)

    def weight_in(self, dtype: torch.dtype) -> Float[Tensor, "c_out c_in"]:
        """The weights multiplied back in a type: in bfloat16 the product is rounded."""
        return self.weight_int8.to(dtype) * self.weight_scale.to(dtype)[:, None]

    def forward(self, x: Float[Tensor, "*b c_in"]) -> Float[Tensor, "*b c_out"]:
        """Project."""
        if self.precise:
            with torch.autocast(x.device.type, enabled=False):
                return self._project(x.float())
        return self._project(x)

    def _project(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight_in(x.dtype), None if self.bias is None else self.bias.to(x.dtype))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Int8Linear":  # noqa: FBT001, FBT002
        """Move or convert, but keep the scales in float32: the precise layers need them so."""
        scale = self.weight_scale
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.weight_scale.dtype != scale.dtype:
            self.weight_scale = scale.to(self.weight_scale.device)
        return self

    def extra_repr(self) -> str:
        """What printing shows."""
        return f"in_features={self.in_features}, out_features={self.out_features}, precise={self.precise}"


def to_int8(network: Network, skipped: tuple[str, ...] = SKIPPED) -> Network:
    """Make all linear layers of a network small, in place, but for those whose name holds one of ``skipped``.

    Raises ConfigError where a LoRA is attached: it would be lost.
    """
    for name, linear in list(network.named_modules()):
        if isinstance(linear, nn.Linear) and not any(part in name for part in skipped):
            if list(linear.children()):
                raise ConfigError(f"{name} has something attached", hint="detach the LoRA, and attach it again later")
            network.set_submodule(name, Int8Linear.quantised(linear))
    return network


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


def _empty(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers and scales without values."""
    scale = torch.empty(len(weight), dtype=torch.float32, device=weight.device)
    return torch.empty_like(weight, dtype=torch.int8, requires_grad=False), scale
