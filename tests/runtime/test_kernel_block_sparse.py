"""Block-sparse attention against the published numbers, and against the definition written out token by token."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from enliven.errors import ConfigError, RequestError
from enliven.runtime.attention import SelfAttend, load_kernel
from enliven.runtime.kernel_block_sparse import BlockSparse, attend_masked
from enliven.runtime.kernel_plain import Grid, GridKernel, sdpa
from enliven.types import AttentionRule
from golden_files import golden


@pytest.mark.parametrize("name", ["b0", "b1", "b2", "b3"])
def test_agrees_with_the_published_one(name: str) -> None:
    case = golden("bsa").case(name)
    q, k, v = (case.inputs[letter] for letter in "qkv")
    grids = [tuple(case.args[f"latent_shape_{letter}"]) for letter in "qk"]
    kernel = BlockSparse(case.args["sparsity"], case.args["cdf_threshold"], tuple(case.args["chunk_3d_shape_q"]))
    keep = kernel.choose(kernel.cut(q, grids[0]), kernel.cut(k, grids[1]))
    assert torch.equal(keep, case.outputs["block_keep"])
    assert_close(kernel.on_grid(q, k, v, *grids), case.outputs["out"], atol=5e-5, rtol=0)


def test_what_is_published_is_what_no_numbers_mean() -> None:
    kernel = load_kernel("block-sparse-masked")
    assert isinstance(kernel, GridKernel)
    assert kernel == BlockSparse(sparsity=0.9375, cdf_threshold=None, block=(4, 4, 4))


def block_of(grid: Grid, block: Grid) -> Tensor:
    """For each token, in order of frame, row and column, the number of its block."""
    (frames, rows, columns), (t, h, w) = grid, block
    across, down = columns // w, rows // h
    return torch.tensor(
        [
            (frame // t * down + row // h) * across + column // w
            for frame in range(frames)
            for row in range(rows)
            for column in range(columns)
        ]
    )


def written_out(q: Tensor, k: Tensor, v: Tensor, grids: tuple[Grid, Grid], block: Grid, count: int) -> Tensor:
    """One head: each token looks at the tokens of the ``count`` blocks whose mean its block's mean likes best."""
    q_blocks, k_blocks = (block_of(grid, block) for grid in grids)
    q_means, k_means = (
        torch.stack([x[blocks == number].mean(0) for number in range(int(blocks.max()) + 1)])
        for x, blocks in ((q, q_blocks), (k, k_blocks))
    )
    out = torch.zeros_like(q)
    for token, number in enumerate(q_blocks.tolist()):
        liked = (k_means @ q_means[number]).topk(count).indices
        seen = torch.isin(k_blocks, liked)
        out[token] = ((k[seen] @ q[token]) / q.shape[-1] ** 0.5).softmax(0) @ v[seen]
    return out


def test_tokens_look_at_the_best_blocks_of_each_head_and_at_nothing_else() -> None:
    grids, block = ((2, 4, 6), (4, 4, 6)), (2, 2, 3)
    q, k, v = (torch.randn(1, 2, length, 8) for length in (48, 96, 96))
    seen = BlockSparse(sparsity=0.55, block=block).on_grid(q, k, v, *grids)
    for head in range(2):
        # 8 blocks of keys, 0.45 of them, rounded down: 3.
        expected = written_out(q[0, head], k[0, head], v[0, head], grids, block, 3)
        assert_close(seen[0, head], expected, atol=1e-5, rtol=1e-5)


def test_all_blocks_together_are_dense_attention() -> None:
    q, k, v = torch.randn(3, 2, 2, 128, 8)
    grid = (4, 4, 8)
    assert_close(BlockSparse(sparsity=0.0).on_grid(q, k, v, grid, grid), sdpa(q, k, v), atol=1e-5, rtol=0)
    assert_close(BlockSparse()(q, k, v), sdpa(q, k, v), atol=1e-5, rtol=0)


def test_the_block_that_crosses_the_threshold_is_left_out_and_nothing_may_be_left() -> None:
    means = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    q = torch.zeros(1, 1, 64, 4)
    q[..., 0] = 4**0.5  # so that the scaled scores are the first channel of the keys
    k = torch.zeros(1, 1, 256, 4)
    k[..., 0] = means.repeat_interleave(64)
    v = torch.arange(4.0).repeat_interleave(64)[None, None, :, None].expand(1, 1, 256, 4)
    kept = {0.81: [0, 1], 0.79: [0], 0.49: [], 0.96: [0, 1, 2]}
    for threshold, blocks in kept.items():
        kernel = BlockSparse(None, threshold)
        keep = kernel.choose(q[:, :, None], k.unflatten(2, (4, 64)))
        assert keep.flatten().nonzero().flatten().tolist() == blocks
        seen = kernel.on_grid(q, k, v, (4, 4, 4), (16, 4, 4))
        shares = means.exp()[blocks]
        expected = float((shares * torch.tensor(blocks)).sum() / shares.sum()) if blocks else 0.0
        assert_close(seen, torch.full_like(seen, expected))
    # With both, the more of the two: half of four blocks are two.
    assert BlockSparse(0.5, 0.49).choose(q[:, :, None], k.unflatten(2, (4, 64))).sum() == 2


def test_gradients_flow_where_something_is_kept() -> None:
    q, k, v = torch.randn(3, 1, 1, 2, 4, 8, requires_grad=True)
    keep = torch.tensor([[True, False], [False, False]])[None, None]
    attend_masked(q, k, v, keep).square().sum().backward()


def test_grids_that_do_not_divide_are_refused() -> None:
    q, k, v = torch.randn(3, 1, 1, 4 * 6 * 4, 8)
    with pytest.raises(RequestError, match=r"blocks of 4 x 4 x 4 tokens, into which 4 x 6 x 4 \(frames"):
        BlockSparse().on_grid(q, k, v, (4, 6, 4), (4, 6, 4))


def test_a_sparsity_that_leaves_nothing_is_refused() -> None:
    q, k, v = torch.randn(3, 1, 1, 256, 8)
    with pytest.raises(RequestError, match=r"sparsity of 0.9375 leaves none of 4 blocks"):
        BlockSparse().on_grid(q, k, v, (4, 8, 8), (4, 8, 8))


@pytest.mark.parametrize("numbers", [(None, None), (1.5, None), (None, -0.1)])
def test_impossible_numbers_are_refused(numbers: tuple[float | None, float | None]) -> None:
    with pytest.raises(ConfigError):
        BlockSparse(*numbers)


def test_a_leaf_cuts_its_frames_into_blocks() -> None:
    """Noise that sees what is given and itself; what is given sees itself."""
    leaf, (q, k, v) = SelfAttend(), torch.randn(3, 1, 8, 32, 2, 8)
    leaf.kernel = kernel = BlockSparse(sparsity=0.5)
    rules = [AttentionRule(range(4), (range(4),)), AttentionRule(range(4, 8), (range(8),))]
    seen = leaf(q, k, v, rules, grid=(4, 8))
    heads = [x.flatten(1, 2).transpose(1, 2) for x in (q[:, 4:], k, v)]
    expected = kernel.on_grid(*heads, (4, 4, 8), (8, 4, 8)).transpose(1, 2).reshape(1, 4, 32, 2, 8)
    assert_close(seen[:, 4:], expected)
    assert (seen - leaf(q, k, v, rules)).abs().max() > 0.1
