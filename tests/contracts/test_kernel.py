"""What every attention kernel promises, over all of them, on the GPU where there is one.

A kernel that cannot be had here is skipped, and says why. All others, SDPA of PyTorch among them, are compared with
attention written out in float64.
"""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from enliven.runtime.attention import kernel_names, load_kernel, why_not
from enliven.runtime.kernel_block_sparse import BlockSparse, attend_masked
from enliven.runtime.kernel_fused import HalfKernel
from enliven.runtime.kernel_plain import Kernel, sdpa

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LIMITS = {torch.float32: 1e-5, torch.bfloat16: 0.03}
EIGHT_BITS = {"sage": 0.08}  # for kernels that round queries and keys to 8 bits
NUMBERS = [{"sparsity": 0.0}, {"sparsity": 0.75}, {"sparsity": None, "cdf_threshold": 0.3}]


def loaded(name: str) -> Kernel:
    reason = why_not(name)
    if reason:
        pytest.skip(reason)
    return load_kernel(name)


def exact(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    logits = q.double() @ k.double().mT / math.sqrt(q.shape[-1])
    return (logits if bias is None else logits + bias.double()).softmax(-1) @ v.double()


@pytest.mark.parametrize("name", kernel_names())
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize(("queries", "keys", "size"), [(200, 200, 64), (129, 6, 128), (70, 150, 32)])
@pytest.mark.parametrize("biased", [False, True], ids=["", "biased"])
def test_it_is_attention(name: str, dtype: torch.dtype, queries: int, keys: int, size: int, biased: bool) -> None:
    kernel = loaded(name)
    if dtype == torch.float32 and isinstance(kernel, HalfKernel):
        pytest.skip(f"attention {name} is for 16 bits")
    # Strided, as a projection leaves them.
    q, k, v = (torch.randn(2, n, 3, size, dtype=dtype, device=DEVICE).transpose(1, 2) for n in (queries, keys, keys))
    bias = torch.randn(2, 1, 1, keys, device=DEVICE) if biased else None
    if bias is not None:
        bias[1, :, :, keys // 2 :] = -math.inf
    truth, seen = exact(q, k, v, bias), kernel(q, k, v, bias)
    assert seen.dtype == dtype
    assert seen.shape == q.shape
    assert_close(seen.double(), truth, atol=EIGHT_BITS.get(name, LIMITS[dtype]), rtol=0)


@pytest.mark.parametrize("name", ["block-sparse", "block-sparse-masked"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("numbers", NUMBERS, ids=str)
def test_among_blocks_it_is_the_masked_attention(name: str, dtype: torch.dtype, numbers: dict[str, float]) -> None:
    kernel = loaded(name)
    assert isinstance(kernel, BlockSparse)
    kernel, reference = replace(kernel, **numbers), replace(kernel, **numbers, attend=attend_masked)
    grids = ((4, 8, 12), (8, 8, 12))
    q, k, v = (torch.randn(1, 2, math.prod(grid), 64, dtype=dtype, device=DEVICE) for grid in (*grids, grids[1]))
    seen = kernel.on_grid(q, k, v, *grids)
    limit = LIMITS[dtype]
    assert_close(seen, reference.on_grid(q, k, v, *grids), atol=limit, rtol=limit)
    far = (seen - sdpa(q, k, v)).abs().max()
    assert far < limit if numbers.get("sparsity") == 0 else far > 5 * limit
