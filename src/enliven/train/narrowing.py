"""Begin an efficient decoder as the part of its teacher that matters most: a choice of channels, layer by layer.

Channels that stand in one residual stream are chosen together. Of a stream, or of the inside of a block, those
channels are taken that vary most where the ones taken before them do not (pivoted Cholesky decomposition of the
covariance), measured where the network normalises. A norm over fewer channels has another scale; its weights make up
for that. What a convolution saw in the channels that are gone is put together from those that are left, as well as a
linear map can.
"""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from enliven.errors import RequestError
from enliven.models.vae import ChannelNorm, Convolution, ToonAutoencoder
from enliven.models.wan_autoencoder import WanAutoencoder
from enliven.train.moments import Moments

Channels = Int64[Tensor, "_"]
Autoencoder = ToonAutoencoder | WanAutoencoder
ALL = slice(None)
RIDGE = 1e-3


@torch.no_grad()
def begin_narrow(student: Autoencoder, teacher: Autoencoder, latents: Float[Tensor, "b c t h w"]) -> None:
    """Give ``student`` the encoder of ``teacher``, and of its decoder the channels that ``latents`` make use of.

    A student as wide as its teacher becomes its equal. The teacher is measured where it is, and stands beside the
    student then. Raises RequestError where more than widths differ.
    """
    names = [{name for name, _ in network.named_parameters()} for network in (student, teacher)]
    if names[0] != names[1] or student.channels != teacher.channels:
        raise RequestError(
            "student and teacher differ in more than the widths of their decoders",
            hint="give both the same kind, channels, levels and blocks",
        )
    shapes = {name: value.shape for name, value in student.state_dict().items()}
    shared = {name: value for name, value in teacher.state_dict().items() if value.shape == shapes[name]}
    student.load_state_dict(shared, strict=False)
    norm = ChannelNorm if isinstance(teacher, ToonAutoencoder) else type(teacher.network.decoder.norm_out)
    measured = measure(teacher, latents, norm)
    teacher.to(next(student.parameters()).device)
    if isinstance(student, ToonAutoencoder) and isinstance(teacher, ToonAutoencoder):
        _narrow_toon(student, teacher, measured)
    elif isinstance(student, WanAutoencoder) and isinstance(teacher, WanAutoencoder):
        _narrow_wan(student.network.decoder, teacher.network.decoder, measured)


def independent(covariance: Float[Tensor, "c c"], count: int) -> Channels:
    """The ``count`` channels, in ascending order, of which each varies most where those chosen before it do not."""
    left = covariance.double().clone()
    chosen: list[int] = []
    for _ in range(count):
        variance = left.diagonal().clone()
        variance[chosen] = -torch.inf
        pick = int(variance.argmax())
        chosen.append(pick)
        if variance[pick] > 0:
            left -= torch.outer(left[:, pick], left[pick]) / variance[pick]
    return torch.tensor(sorted(chosen))


@dataclass(frozen=True, slots=True)
class Measured:
    """What each norm and each convolution of a decoder was given."""

    moments: dict[nn.Module, Moments] = field(default_factory=dict)

    def listen(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        """A hook: counts every pixel of every frame."""
        rows = inputs[0].movedim(1, -1).flatten(0, -2).float()
        self.moments.setdefault(module, Moments(rows.shape[1])).add(rows)

    def choose(self, norms: Iterable[tuple[nn.Module, int]], count: int) -> Channels:
        """``count`` units of a stream; beside each norm, how many neighbouring channels are one unit there."""
        total: Any = 0.0
        for norm, group in norms:
            covariance = self.moments[norm].around(self.moments[norm].mean)
            units = covariance.unflatten(1, (-1, group)).unflatten(0, (-1, group)).diagonal(dim1=1, dim2=3).sum(-1)
            total = total + units / units.trace().clamp(min=1e-12)
        return independent(total, count)

    def inside(self, norm: nn.Module, count: int) -> Channels:
        """``count`` channels that nothing but ``norm`` looks at."""
        return self.choose([(norm, 1)], count)

    def gain(self, norm: nn.Module, kept: Channels) -> float:
        """The root mean square of the kept channels, as a multiple of that of all."""
        squares = self.moments[norm].products.diagonal()
        return float((squares[kept].mean() / squares.mean().clamp(min=1e-24)).sqrt())

    def guess(self, convolution: nn.Module, kept: Channels, gone: Channels) -> tuple[Tensor, Tensor]:
        """Slopes ``kept gone`` and offsets ``gone`` of the channels that are gone, by ridge regression."""
        moments = self.moments[convolution]
        covariance = moments.around(moments.mean)
        among = covariance[kept][:, kept]
        ridge = RIDGE * among.trace().clamp(min=1e-12) / len(kept) * torch.eye(len(kept), dtype=among.dtype)
        slopes = torch.linalg.solve(among + ridge, covariance[kept][:, gone])
        return slopes, moments.mean[gone] - moments.mean[kept] @ slopes


def measure(teacher: Autoencoder, latents: Float[Tensor, "b c t h w"], norm: type[nn.Module]) -> Measured:
    """Decode ``latents``, one clip after the other, and listen at every convolution and every ``norm``."""
    measured = Measured()
    with ExitStack() as hooks:
        for module in teacher.modules():
            if isinstance(module, norm | Convolution | nn.Conv2d | nn.Conv3d):
                hooks.callback(module.register_forward_pre_hook(measured.listen).remove)
        for clip in latents.split(1):
            teacher.paint(clip, {})
    return measured


def _narrow_toon(student: ToonAutoencoder, teacher: ToonAutoencoder, measured: Measured) -> None:
    """Each level is one residual stream."""
    stream: Any = ALL
    depth = len(teacher.params.widths)
    for level, (mine, its) in enumerate(zip(_levels(student), _levels(teacher), strict=True)):
        before, width = stream, student.params.widths[level]
        norms = [block.norm1 for block in its[1]] + ([teacher.decoder_norm] if level == depth - 1 else [])
        stream = measured.choose([(norm, 1) for norm in norms], width)
        _copy(mine[0], its[0], measured, before, stream)
        for narrow, wide in zip(mine[1], its[1], strict=True):
            _copy(narrow.past, wide.past, measured, stream, stream)
            _copy_branch(narrow, wide, measured, stream, stream)
    _copy_norm(student.decoder_norm, teacher.decoder_norm, measured, stream)
    _copy(student.decoder_out, teacher.decoder_out, measured, stream, ALL)


def _levels(autoencoder: ToonAutoencoder) -> list[tuple[nn.Module, Any]]:
    """The convolution that leads to each level, and its blocks."""
    middle: Any = autoencoder.decoder_middle
    return [
        (autoencoder.decoder_in, autoencoder.decoder_inner),
        *((level.grow.conv, level.blocks) for level in middle),
        (autoencoder.grow.conv, autoencoder.decoder_outer),
    ]


def _narrow_wan(student: Any, teacher: Any, measured: Measured) -> None:
    """One stream runs from the latents to the last level: shortcuts repeat its channels and never mix them.

    Where a shortcut halves the channels, two neighbours feed one, so that both are kept or none.
    """
    groups = [1]
    for block in reversed(teacher.up_blocks[:-1]):
        groups.insert(0, groups[0] * block.in_dim // block.out_dim)
    norms = [(part.norm1, groups[0]) for part in teacher.mid_block.resnets]
    for block, group in zip(teacher.up_blocks, groups, strict=True):
        norms += [(part.norm1, group) for part in block.resnets if part.in_dim == block.in_dim]
    units = measured.choose(norms, student.up_blocks[-1].in_dim)
    streams = [(group * units[:, None] + torch.arange(group)).flatten() for group in groups]
    _copy(student.conv_in, teacher.conv_in, measured, ALL, streams[0])
    for mine, its in zip(student.mid_block.resnets, teacher.mid_block.resnets, strict=True):
        _copy_branch(mine, its, measured, streams[0], streams[0])
    for mine, its in zip(student.mid_block.attentions, teacher.mid_block.attentions, strict=True):
        _copy_attention(mine, its, measured, streams[0])
    for level, (mine, its) in enumerate(zip(student.up_blocks, teacher.up_blocks, strict=True)):
        stream = _narrow_wan_level(mine, its, teacher.norm_out, measured, streams[level])
        if its.upsampler is not None:
            _copy_upsampler(mine.upsampler, its.upsampler, measured, stream, streams[level + 1])
    _copy_norm(student.norm_out, teacher.norm_out, measured, stream)
    _copy(student.conv_out, teacher.conv_out, measured, stream, ALL)


def _narrow_wan_level(mine: Any, its: Any, norm_out: nn.Module, measured: Measured, stream: Channels) -> Channels:
    """The residual blocks of one level; gives the stream they end with, their own where the width changes."""
    after = stream
    if its.in_dim != its.out_dim:
        norms = [part.norm1 for part in its.resnets[1:]] + ([norm_out] if its.upsampler is None else [])
        after = measured.choose([(norm, 1) for norm in norms], mine.out_dim)
    for narrow, wide in zip(mine.resnets, its.resnets, strict=True):
        _copy_branch(narrow, wide, measured, stream, after)
        if wide.in_dim != wide.out_dim:
            _copy(narrow.conv_shortcut, wide.conv_shortcut, measured, stream, after)
        stream = after
    return after


def _copy_upsampler(mine: Any, its: Any, measured: Measured, stream: Channels, after: Channels) -> None:
    """The convolution over time makes two frames: first all channels of one, then all of the other."""
    if its.mode == "upsample3d":
        _copy(mine.time_conv, its.time_conv, measured, stream, torch.cat([stream, stream + its.dim]))
    _copy(mine.resample[1], its.resample[1], measured, stream, after)


def _copy_attention(mine: Any, its: Any, measured: Measured, stream: Channels) -> None:
    """Queries are weakened as much as attention over fewer channels sharpens."""
    _copy_norm(mine.norm, its.norm, measured, stream)
    _copy(mine.to_qkv, its.to_qkv, measured, stream, torch.cat([stream + part * its.dim for part in range(3)]))
    for value in (mine.to_qkv.weight, mine.to_qkv.bias):
        value[: mine.dim] *= (mine.dim / its.dim) ** 0.5
    _copy(mine.proj, its.proj, measured, stream, stream)


def _copy_branch(mine: Any, its: Any, measured: Measured, before: Channels, after: Channels) -> None:
    """What a residual block adds: norm, convolution, norm, convolution."""
    inside = measured.inside(its.norm2, len(mine.conv1.bias))
    _copy_norm(mine.norm1, its.norm1, measured, before)
    _copy(mine.conv1, its.conv1, measured, before, inside)
    _copy_norm(mine.norm2, its.norm2, measured, inside)
    _copy(mine.conv2, its.conv2, measured, inside, after)


def _copy(mine: Any, its: Any, measured: Measured, before: Channels | slice, after: Channels | slice) -> None:
    """A convolution of any kind, from the channels ``before`` to the channels ``after``."""
    side = getattr(its, "side", 1)  # of a kernel that is kept as a matrix
    whole, bias = its.weight.unflatten(1, (-1, side**2))[after], its.bias[after]
    weight = whole[:, before]
    if not isinstance(before, slice) and len(before) < whole.shape[1]:
        gone = torch.tensor(sorted(set(range(whole.shape[1])) - set(before.tolist())))
        slopes, offsets = measured.guess(its, before, gone)
        lost = whole[:, gone].double()
        weight = weight + torch.einsum("og...,kg->ok...", lost, slopes).to(weight)
        bias = bias + (lost.flatten(2).sum(2) @ offsets).to(bias)
    mine.weight.copy_(weight.reshape(mine.weight.shape))
    mine.bias.copy_(bias)


def _copy_norm(mine: nn.Module, its: nn.Module, measured: Measured, kept: Channels) -> None:
    for narrow, wide in zip(mine.parameters(), its.parameters(), strict=True):
        narrow.copy_(wide[kept] * measured.gain(its, kept))
