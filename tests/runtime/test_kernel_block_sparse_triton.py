"""The Triton kernel in Triton's interpreter, which needs no GPU; on one, the contract of kernels runs it as it is."""

import os

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from enliven.runtime.kernel_block_sparse import BlockSparse, attend_masked
from golden_files import golden

if torch.cuda.is_available():
    pytest.skip("there is a GPU: see tests/contracts/test_kernel.py", allow_module_level=True)
os.environ.setdefault("TRITON_INTERPRET", "1")  # read when the kernel is imported
pytest.importorskip("triton", reason="needs Triton")

from enliven.runtime.kernel_block_sparse_triton import attend_blocks


def blocks(*counts: int, tokens: int = 16, size: int = 16, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    return [torch.randn(2, 3, count, tokens, size, dtype=dtype) for count in counts]


@pytest.mark.parametrize("size", [8, 16, 24])
def test_it_is_the_masked_attention(size: int) -> None:
    q, k, v = blocks(3, 5, 5, size=size)
    keep = torch.rand(2, 3, 3, 5) < 0.5
    keep[0, 0, 0] = False
    keep[0, 0, 1] = True
    assert_close(attend_blocks(q, k, v, keep), attend_masked(q, k, v, keep), atol=1e-5, rtol=1e-5)


def test_numbers_of_16_bits() -> None:
    # The interpreter has no products in bfloat16.
    q, k, v = blocks(2, 4, 4, dtype=torch.float16)
    keep = torch.rand(2, 3, 2, 4) < 0.6
    seen, expected = attend_blocks(q, k, v, keep), attend_masked(*(x.float() for x in (q, k, v)), keep)
    assert seen.dtype == torch.float16
    assert_close(seen.float(), expected, atol=5e-3, rtol=0)


def test_gradients_are_those_of_the_masked_attention() -> None:
    q, k, v = (x.requires_grad_() for x in blocks(2, 2, 2))
    keep = torch.ones(2, 3, 2, 2, dtype=torch.bool)
    given = torch.autograd.grad(attend_blocks(q, k, v, keep).square().sum(), (q, k, v))
    assert_close(given, torch.autograd.grad(attend_masked(q, k, v, keep).square().sum(), (q, k, v)))


@pytest.mark.parametrize("name", ["b0", "b1", "b2", "b3"])
def test_agrees_with_the_published_one(name: str) -> None:
    case = golden("bsa").case(name)
    kernel = BlockSparse(case.args["sparsity"], case.args["cdf_threshold"], attend=attend_blocks)
    grids = (tuple(case.args["latent_shape_q"]), tuple(case.args["latent_shape_k"]))
    seen = kernel.on_grid(*(case.inputs[letter] for letter in "qkv"), *grids)
    assert_close(seen, case.outputs["out"], atol=5e-5, rtol=0)
