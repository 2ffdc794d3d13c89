"""Muon: momentum whose update is made orthogonal, many matrices of one shape at a time.

The numbers are those of ``torch.optim.Muon`` with ``adjust_lr_fn="match_rms_adamw"``, to the rounding of bfloat16.
A CPU that would take many times as long for bfloat16 computes in float32.
Matrices that several processes share are gathered for it, and each process keeps its part of the result.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.optimizer import ParamsT

from enliven.runtime.machine import quick_bfloat16
from enliven.train.sharding import part_of, whole

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the polynomial that draws singular values to about 1
ROUNDS = 5
MOST_NUMBERS = 2**24  # of matrices that are treated together, so that memory stays small


class Muon(torch.optim.Optimizer):
    """For matrices only; weight decay as in AdamW."""

    def __init__(self, parameters: ParamsT, lr: float, weight_decay: float = 0.01, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Move every matrix that has a gradient."""
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            for matrices in _alike(moved):
                self._move(group, matrices)

    def _move(self, group: dict[str, Any], matrices: Sequence[nn.Parameter]) -> None:
        steps = []
        for matrix in matrices:
            state = self.state[matrix]
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(matrix)
            assert matrix.grad is not None
            state["momentum_buffer"].lerp_(matrix.grad, 1 - group["momentum"])
            steps.append(whole(matrix.grad.lerp(state["momentum_buffer"], group["momentum"])))
        rate = group["lr"] * 0.2 * math.sqrt(max(matrices[0].shape))  # as large as a step of AdamW
        for matrix, update in zip(matrices, orthogonal(torch.stack(steps)), strict=True):
            matrix.mul_(1 - group["lr"] * group["weight_decay"])
            matrix.add_(part_of(update.to(matrix.dtype), matrix), alpha=-rate)


def orthogonal(matrices: Float[Tensor, "n rows columns"]) -> Float[Tensor, "n rows columns"]:
    """The nearest matrices with all singular values about 1, by Newton-Schulz, in bfloat16 where that is quick."""
    first, second, third = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    dtype = torch.bfloat16 if quick_bfloat16(matrices.device.type) else torch.float32
    x = (matrices.mT if tall else matrices).to(dtype)
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=second, alpha=third), x, beta=first)
    return x.mT if tall else x


def _alike(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Matrices of the same shape, in parts of bounded size."""
    shapes: dict[torch.Size, list[nn.Parameter]] = {}
    for parameter in parameters:
        shapes.setdefault(parameter.shape, []).append(parameter)
    parts = []
    for shape, alike in shapes.items():
        count = max(1, MOST_NUMBERS // math.prod(shape))
        parts += [alike[start : start + count] for start in range(0, len(alike), count)]
    return parts
