"""Block-sparse attention, as the refinement of LongCat-Video was trained with.

Tokens are cut into blocks of ``t h w``. The mean query of a block and the mean keys of all say which blocks it looks
at; attention is exact among those, and nothing else is seen.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from enliven.errors import ConfigError, RequestError
from enliven.runtime.kernel_plain import Grid, auto, sdpa

# Small letters count blocks, capitals the tokens in a block.
LINES, BLOCKS = "b n (t T y Y x X) d", "b n (t y x) (T Y X) d"

BlockAttend = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def attend_masked(
    q: Float[Tensor, "b n q_blocks tokens d"],
    k: Float[Tensor, "b n k_blocks tokens d"],
    v: Float[Tensor, "b n k_blocks tokens d"],
    keep: Bool[Tensor, "b n q_blocks k_blocks"],
) -> Float[Tensor, "b n q_blocks tokens d"]:
    """What block-sparse attention means, computed densely: zero where no block is kept."""
    nothing = ~keep.any(-1)
    tokens = q.shape[3]
    mask = (keep | nothing[..., None]).repeat_interleave(tokens, 2).repeat_interleave(tokens, 3)
    bias = torch.zeros(mask.shape, dtype=q.dtype, device=q.device).masked_fill_(~mask, float("-inf"))
    seen = sdpa(q.flatten(2, 3), k.flatten(2, 3), v.flatten(2, 3), bias).view(q.shape)
    return seen.masked_fill(nothing[..., None, None], 0)


@dataclass(frozen=True, slots=True)
class BlockSparse:
    """Block-sparse attention of tokens on a grid, dense attention of all others.

    Each head keeps, for each block of queries, the share ``1 - sparsity`` of the blocks of keys, rounded down; or the
    best ones whose shares of the softmax add up to ``cdf_threshold`` at most, which may be none; or, with both, the
    more of the two. Without a number given, it is what is published.
    """

    sparsity: float | None = 0.9375
    cdf_threshold: float | None = None
    block: Grid = (4, 4, 4)
    attend: BlockAttend = field(default=attend_masked)

    def __post_init__(self) -> None:
        numbers = [number for number in (self.sparsity, self.cdf_threshold) if number is not None]
        if not numbers or not all(0 <= number <= 1 for number in numbers):
            raise ConfigError(
                f"sparsity {self.sparsity} and cdf_threshold {self.cdf_threshold} keep no known number of blocks",
                hint="give one of them, or both, in 0..1",
            )

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attend densely."""
        return auto(q, k, v, bias)

    def on_grid(
        self,
        q: Float[Tensor, "b n q d"],
        k: Float[Tensor, "b n k d"],
        v: Float[Tensor, "b n k d"],
        q_grid: Grid,
        k_grid: Grid,
    ) -> Float[Tensor, "b n q d"]:
        """Attend among blocks. Raises RequestError when a grid cannot be cut into blocks, or none would be kept."""
        queries, keys, values = self.cut(q, q_grid), self.cut(k, k_grid), self.cut(v, k_grid)
        return self._join(self.attend(queries, keys, values, self.choose(queries, keys)), q_grid)

    def choose(
        self, q: Float[Tensor, "b n q_blocks tokens d"], k: Float[Tensor, "b n k_blocks tokens d"]
    ) -> Bool[Tensor, "b n q_blocks k_blocks"]:
        """Which blocks of keys each block of queries looks at. Raises RequestError where a sparsity leaves none."""
        scores = q.float().mean(3) @ k.float().mean(3).mT
        count = torch.zeros_like(scores[..., :1], dtype=torch.long)
        if self.sparsity is not None:
            count += int((1 - self.sparsity) * k.shape[2])
        if self.cdf_threshold is not None:
            shares = (scores * q.shape[-1] ** -0.5).softmax(-1).sort(descending=True).values
            count = torch.maximum(count, (shares.cumsum(-1) <= self.cdf_threshold).sum(-1, keepdim=True))
        elif not count.any():
            raise RequestError(
                f"a sparsity of {self.sparsity} leaves none of {k.shape[2]} blocks to look at",
                hint="block-sparse attention is for larger videos; choose --attention auto",
            )
        best = scores.sort(descending=True).indices
        ranked = torch.arange(k.shape[2], device=k.device) < count
        return torch.zeros_like(ranked).scatter_(-1, best, ranked)

    def cut(self, x: Float[Tensor, "b n tokens d"], grid: Grid) -> Float[Tensor, "b n blocks in_block d"]:
        """The tokens of a grid block by block, both counted by frame, row and column. Raises RequestError."""
        if any(size % side for size, side in zip(grid, self.block, strict=True)):
            raise RequestError(
                f"block-sparse attention has blocks of {_spelled(self.block)} tokens, into which {_spelled(grid)}"
                " (frames x rows x columns) cannot be cut",
                hint="choose --attention auto; or a size and a number of latent frames that divide",
            )
        return rearrange(x, f"{LINES} -> {BLOCKS}", **self._sizes(grid)).contiguous()

    def _join(self, x: Tensor, grid: Grid) -> Tensor:
        return rearrange(x, f"{BLOCKS} -> {LINES}", **self._sizes(grid))

    def _sizes(self, grid: Grid) -> dict[str, int]:
        blocks = {axis: size // side for axis, size, side in zip("tyx", grid, self.block, strict=True)}
        return blocks | dict(zip("TYX", self.block, strict=True))


def _spelled(grid: Grid) -> str:
    return " x ".join(map(str, grid))
