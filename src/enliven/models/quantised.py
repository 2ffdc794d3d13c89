"""Linear layers whose weights take 8 bits: numbers of a small type, and one scale for each output.

Only weights are small. A layer multiplies them back into the type of its input, and computes as before.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn

from enliven.errors import ConfigError
from enliven.models.layers import Linear32

SKIPPED = ("final_layer.linear",)  # published as not quantised: errors of the last layer are seen as they are
SMALLEST_PEAK = 1e-8  # of a row, so that a row of zeros has a scale too

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class Format:
    """Numbers of 8 bits: the type, the largest one in use, and what the tensor is called."""

    dtype: torch.dtype
    largest: float
    tensor: str

    def quantise(self, weight: Float[Tensor, "c_out c_in"]) -> tuple[Tensor, Float32[Tensor, "c_out"]]:
        """Numbers, and the scale of each row, so that ``numbers * scale`` is near the weight."""
        rows = weight.detach().float()
        scale = rows.abs().amax(dim=1).clamp(min=SMALLEST_PEAK) / self.largest
        numbers = rows / scale[:, None]
        if not self.dtype.is_floating_point:
            numbers = numbers.round()  # others are rounded by the conversion
        return numbers.clamp(-self.largest, self.largest).to(self.dtype), scale

    def empty(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers and scales without values."""
        scale = torch.empty(len(weight), dtype=torch.float32, device=weight.device)
        return torch.empty_like(weight, dtype=self.dtype, requires_grad=False), scale


class QuantisedLinear(nn.Module):
    """A linear layer with weights of 8 bits, computed in the type of its input, or always in float32 (``precise``).

    Nothing in it is trained; adapters beside it can be. A kind of layer has its ``format``.
    """

    format: ClassVar[Format]
    weight_scale: Tensor

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None, *, precise: bool = False) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.precise = precise
        self.register_buffer(self.format.tensor, weight)
        self.register_buffer("weight_scale", scale)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)

    @classmethod
    def quantised(cls, linear: nn.Linear) -> "QuantisedLinear":
        """The layer with its weights made small; on the meta device there is nothing to compute."""
        weight = linear.weight
        small = cls.format.empty(weight) if weight.is_meta else cls.format.quantise(weight)
        return cls(*small, linear.bias, precise=isinstance(linear, Linear32))

    @property
    def weight(self) -> Float[Tensor, "c_out c_in"]:
        """The weights as the layer uses them, in the type of its bias; float32 where it has none."""
        return self.weight_in(self.weight_scale.dtype if self.bias is None else self.bias.dtype)

    def weight_in(self, dtype: torch.dtype) -> Float[Tensor, "c_out c_in"]:
        """The weights multiplied back in a type: in bfloat16 the product is rounded."""
        return self.get_buffer(self.format.tensor).to(dtype) * self.weight_scale.to(dtype)[:, None]

    def forward(self, x: Float[Tensor, "*b c_in"]) -> Float[Tensor, "*b c_out"]:
        """Project."""
        if self.precise:
            with torch.autocast(x.device.type, enabled=False):
                return self._project(x.float())
        return self._project(x)

    def _project(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight_in(x.dtype), None if self.bias is None else self.bias.to(x.dtype))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "QuantisedLinear":  # noqa: FBT001, FBT002
        """Move or convert, but keep the types of numbers and scales: the precise layers need them so."""
        before = {name: self.get_buffer(name) for name in (self.format.tensor, "weight_scale")}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, kept in before.items():
            moved = self.get_buffer(name)
            if moved.dtype != kept.dtype:
                setattr(self, name, kept.to(moved.device))
        return self

    def extra_repr(self) -> str:
        """What printing shows."""
        return f"in_features={self.in_features}, out_features={self.out_features}, precise={self.precise}"


def quantise_linears(network: Network, kind: type[QuantisedLinear], skipped: tuple[str, ...] = SKIPPED) -> Network:
    """Make all linear layers of a network small, in place, but for those whose name holds one of ``skipped``.

    Raises ConfigError where a LoRA is attached: it would be lost.
    """
    for name, linear in list(network.named_modules()):
        if isinstance(linear, nn.Linear) and not any(part in name for part in skipped):
            if list(linear.children()):
                raise ConfigError(f"{name} has something attached", hint="detach the LoRA, and attach it again later")
            network.set_submodule(name, kind.quantised(linear))
    return network
