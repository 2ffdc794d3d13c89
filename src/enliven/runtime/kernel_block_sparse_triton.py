"""Block-sparse attention on a GPU: only the blocks that are kept are read. Needs Triton.

One program computes one block of queries of one head, with the softmax carried along from block to block. It is
compared with ``attend_masked`` by the contract test of kernels where there is a GPU, and where there is Triton and no
GPU, in Triton's interpreter.
"""

from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Bool, Float
from torch import Tensor

from enliven.runtime.kernel_block_sparse import attend_masked

LOG2E = 1.4426950408889634  # the GPU has powers of two


def attend_blocks(
    q: Float[Tensor, "b n q_blocks tokens d"],
    k: Float[Tensor, "b n k_blocks tokens d"],
    v: Float[Tensor, "b n k_blocks tokens d"],
    keep: Bool[Tensor, "b n q_blocks k_blocks"],
) -> Float[Tensor, "b n q_blocks tokens d"]:
    """As ``attend_masked``, which does it where gradients are wanted.

    The number of tokens in a block is a power of two from 16 on.
    """
    if torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v)):
        return attend_masked(q, k, v, keep)
    q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    batch, heads, q_blocks, tokens, size = q.shape
    counts = keep.sum(-1, dtype=torch.int32).contiguous()
    # The numbers of the blocks that are kept stand in front, in their order.
    kept = keep.int().sort(descending=True, stable=True).indices.int().contiguous()
    out = torch.empty_like(q)
    _attend[(q_blocks, batch * heads)](
        *(q, k, v, out, kept, counts),
        *(q_blocks, k.shape[2], size**-0.5 * LOG2E),
        size=size,
        wide=max(16, triton.next_power_of_2(size)),
        tokens=tokens,
        num_warps=4,
        num_stages=2,
    )
    return out


@triton.jit
@no_type_check
def _attend(  # noqa: PLR0913, PLR0917
    q, k, v, out, kept, counts, q_blocks, k_blocks, scale, size: tl.constexpr, wide: tl.constexpr, tokens: tl.constexpr
):
    block = tl.program_id(0).to(tl.int64)
    head = tl.program_id(1).to(tl.int64)
    mine = head * q_blocks + block
    columns = tl.arange(0, wide)[None, :]
    there = columns < size
    tile = tl.arange(0, tokens)[:, None] * size + columns
    queries = tl.load(q + mine * tokens * size + tile, mask=there, other=0.0)
    peak = tl.full([tokens], float("-inf"), tl.float32)
    total = tl.zeros([tokens], tl.float32)
    seen = tl.zeros([tokens, wide], tl.float32)
    for index in range(tl.load(counts + mine)):
        other = head * k_blocks + tl.load(kept + mine * k_blocks + index)
        keys = tl.load(k + other * tokens * size + tile, mask=there, other=0.0)
        logits = tl.dot(queries, tl.trans(keys), input_precision="ieee") * scale
        higher = tl.maximum(peak, tl.max(logits, 1))
        shrink = tl.exp2(peak - higher)
        weights = tl.exp2(logits - higher[:, None])
        values = tl.load(v + other * tokens * size + tile, mask=there, other=0.0)
        seen = seen * shrink[:, None] + tl.dot(weights.to(values.dtype), values, input_precision="ieee")
        total = total * shrink + tl.sum(weights, 1)
        peak = higher
    seen = seen / tl.where(total > 0, total, 1.0)[:, None]
    tl.store(out + mine * tokens * size + tile, seen.to(out.dtype.element_ty), mask=there)
