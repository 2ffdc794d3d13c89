"""Attention of PyTorch alone, against attention written out."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from enliven.runtime import kernel_plain
from enliven.runtime.kernel_plain import auto, matmul, sdpa


def exact(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    logits = torch.einsum("bnqd,bnkd->bnqk", q.double(), k.double()) / q.shape[-1] ** 0.5
    weights = (logits if bias is None else logits + bias.double()).exp()
    return torch.einsum("bnqk,bnkd->bnqd", weights / weights.sum(-1, keepdim=True), v.double())


@pytest.mark.parametrize("kernel", [sdpa, matmul, auto])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("biased", [False, True])
def test_every_kernel_computes_attention(kernel: kernel_plain.Kernel, dtype: torch.dtype, biased: bool) -> None:
    # Strided, as a projection leaves them, and of unequal lengths.
    q, k, v = (torch.randn(3, length, 2, 16, dtype=dtype).transpose(1, 2) for length in (9, 14, 14))
    bias = torch.randn(3, 1, 1, 14) if biased else None
    if bias is not None:
        bias[:, :, :, 3] = -math.inf
    out = kernel(q, k, v, bias)
    assert out.dtype == dtype
    assert_close(out.double(), exact(q, k, v, bias), atol=1e-5 if dtype == torch.float32 else 0.03, rtol=0)


def test_samples_taken_a_few_at_a_time_give_the_same_result_and_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = torch.randn(3, 5, 2, 6, 8, requires_grad=True)
    bias = torch.randn(5, 1, 1, 6)
    results = []
    for most in (10**9, 2 * 2 * 6 * 6, 1):
        monkeypatch.setattr(kernel_plain, "MOST_LOGITS", most)
        out = matmul(q, k, v, bias)
        results.append((out, *torch.autograd.grad(out.square().sum(), (q, k, v))))
    for other in results[1:]:
        assert_close(other, results[0])
