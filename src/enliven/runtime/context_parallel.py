"""Several processes share the tokens of a pass: each has a part of the spatial tokens of every latent frame.

All that a block does to each token on its own, text and audio included, stays with the process that has the token. For
self attention the processes change places, so that each has all tokens of some of the heads, and change back after it
(DeepSpeed-Ulysses). Rules, layouts and kernels so stay as they are, and a clip's cache is shared as well.

A network does not know of it: its blocks are handed fewer tokens, and its leaves are replaced.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, distributed, nn
from torch.distributed import ProcessGroup

from enliven.errors import ConfigError
from enliven.runtime.attention import SelfAttend
from enliven.runtime.mesh import gathered
from enliven.types import AttentionRule


class TokenShares:
    """The processes of ``group`` and how ``tokens`` tokens are shared among them.

    They are neighbours, of each process as many: behind the last there may be some that are zero and mean nothing.
    """

    def __init__(self, group: ProcessGroup) -> None:
        self.group, self.count, self.rank = group, group.size(), group.rank()
        self.tokens = 0

    @property
    def size(self) -> int:
        """How many tokens each has."""
        return -(-self.tokens // self.count)

    def own(self, whole: Tensor, axis: int) -> Tensor:
        """The part of this process of all tokens along ``axis``."""
        start = min(self.rank * self.size, self.tokens)
        part = whole.narrow(axis, start, min(self.size, self.tokens - start))
        return _lengthened(part, axis, self.size)

    def whole(self, own: Tensor, axis: int) -> Tensor:
        """All tokens of the parts of all processes."""
        return gathered(own, self.group).movedim(0, axis).flatten(axis, axis + 1).narrow(axis, 0, self.tokens)

    def all_tokens(self, x: Float[Tensor, "b t own n d"]) -> Float[Tensor, "b t s own_heads d"]:
        """From some tokens of all heads to all tokens of some heads."""
        shares = self._exchange(x.unflatten(3, (self.count, -1)).movedim(3, 0))
        return shares.movedim(0, 2).flatten(2, 3)[:, :, : self.tokens]

    def all_heads(self, x: Float[Tensor, "b t s own_heads d"]) -> Float[Tensor, "b t own n d"]:
        """Back again."""
        whole = _lengthened(x, 2, self.size * self.count)
        return self._exchange(whole.unflatten(2, (self.count, -1)).movedim(2, 0)).movedim(0, 3).flatten(3, 4)

    def _exchange(self, parts: Tensor) -> Tensor:
        """The n-th part goes to the n-th process; in the order of processes, what has come."""
        parts = parts.contiguous()
        received = torch.empty_like(parts)
        distributed.all_to_all_single(received, parts, group=self.group)
        return received


def _lengthened(x: Tensor, axis: int, size: int) -> Tensor:
    missing = size - x.shape[axis]
    return F.pad(x, (0, 0) * (x.ndim - 1 - axis) + (0, missing)) if missing else x


class SharedSelfAttend(nn.Module):
    """``SelfAttend`` over the tokens of all processes, for those of this one; ``attend`` is what it replaces."""

    def __init__(self, attend: nn.Module, shares: TokenShares) -> None:
        super().__init__()
        self.attend = attend
        self.shares = shares

    def forward(
        self,
        q: Float[Tensor, "b t own n d"],
        k: Float[Tensor, "b all own n d"],
        v: Float[Tensor, "b all own n d"],
        rules: Sequence[AttentionRule],
        offset: int = 0,
        grid: tuple[int, int] | None = None,
    ) -> Float[Tensor, "b t own n d"]:
        """Attend; see ``SelfAttend``."""
        frames = [x.shape[1] for x in (q, k, v)]
        q, k, v = self.shares.all_tokens(torch.cat([q, k, v], 1)).split_with_sizes(frames, 1)
        return self.shares.all_heads(self.attend(q, k, v, rules, offset, grid))


@runtime_checkable
class Labels(Protocol):
    """A leaf that sees how each token ``look``s at the first frame, and then ``label``s all tokens of the clip."""

    def look(self, q: Tensor, reference: Tensor, speakers: Any) -> Tensor:
        """How strongly each token looks at each region, ``b regions t s``; the reference has all tokens."""
        ...

    def label(self, seen: Tensor, speakers: Any) -> Tensor:
        """The label of each token, ``b t s``."""
        ...


class SharedLabels(nn.Module):
    """Labels of the tokens of this process, by what those of all processes look at."""

    def __init__(self, labels: Labels, shares: TokenShares) -> None:
        super().__init__()
        self.labels = labels
        self.shares = shares

    @torch.no_grad()
    def forward(
        self, q: Float[Tensor, "b t own n d"], reference: Float[Tensor, "b own n d"], speakers: Any
    ) -> Float[Tensor, "b t own"]:
        """Label; see ``LabelSpeakers``."""
        seen = self.labels.look(q, self.shares.whole(reference, 1), speakers)
        return self.shares.own(self.labels.label(self.shares.whole(seen, 3), speakers), 2)


def share_tokens(network: nn.Module, group: ProcessGroup) -> None:
    """Let the processes of ``group`` share the tokens of every pass of a backbone, which all of them then call alike.

    Raises ConfigError where its heads cannot be shared.
    """
    shares = TokenShares(group)
    _check_heads(network, shares.count)
    for parent in list(network.modules()):
        for name, leaf in list(parent.named_children()):
            if isinstance(leaf, SelfAttend):
                setattr(parent, name, SharedSelfAttend(leaf, shares))
            elif isinstance(leaf, Labels):
                setattr(parent, name, SharedLabels(leaf, shares))
    blocks = network.blocks
    assert isinstance(blocks, nn.ModuleList)
    for index, block in enumerate(blocks):
        block.register_forward_pre_hook(partial(_enter, shares, index == 0))
    blocks[-1].register_forward_hook(partial(_leave, shares))


def _check_heads(network: nn.Module, count: int) -> None:
    for module in network.modules():
        heads: Any = getattr(module, "heads", 0)
        if any(isinstance(child, SelfAttend) for child in module.children()) and heads % count:
            raise ConfigError(
                f"{heads} heads of attention cannot be shared among {count} processes",
                hint=f"let context be a number that divides {heads}",
            )


def _enter(shares: TokenShares, first: bool, _: nn.Module, told: tuple[Any, ...]) -> tuple[Any, ...]:  # noqa: FBT001
    """What a block is told, for the tokens of this process: ``x`` comes whole to the first block alone."""
    x, given, *rest = told
    shares.tokens = given.rope.shape[1]
    return (shares.own(x, 2) if first else x, replace(given, rope=shares.own(given.rope, 1)), *rest)


def _leave(shares: TokenShares, _: nn.Module, told: tuple[Any, ...], x: Tensor) -> Tensor:  # noqa: ARG001
    """What the last block gives, whole."""
    return shares.whole(x, 2)
