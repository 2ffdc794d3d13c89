"""Video autoencoders: the contract, and the small one of the toon world.

Every autoencoder here is causal in time. Latent 0 stands for frame 0 alone; latent ``j >= 1`` for frames
``4j-3 .. 4j``. Latents are normalised, so that backbones see a variance of about one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

Memory = dict[str, Tensor]


@runtime_checkable
class DecodeStream(Protocol):
    """A decoder that keeps its causal memory between calls, so that nothing is decoded twice."""

    def push(self, latents: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b 3 f height width"]:
        """Decode the next latents. The first latent ever pushed gives one frame, every other one four."""
        ...

    def state(self) -> dict[str, Tensor]:
        """What must be kept to go on later, by name."""
        ...


@runtime_checkable
class VideoAutoencoder(Protocol):
    """What every autoencoder promises. Video is in -1..1, latents are normalised."""

    channels: int
    spatial_factor: int
    temporal_factor: int

    def encode(self, video: Float[Tensor, "b 3 f height width"]) -> Float[Tensor, "b c t h w"]:
        """The most likely latents of a video of ``4k + 1`` frames."""
        ...

    def decode(self, latents: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b 3 f height width"]:
        """The video of whole latents."""
        ...

    def stream(self, state: Mapping[str, Tensor] | None = None) -> DecodeStream:
        """A decoder for latents that arrive piece by piece; ``state`` goes on where another one stopped."""
        ...


@dataclass(frozen=True, slots=True)
class ToonAutoencoderParams:
    """Sizes of the toon autoencoder: 4 frames of a square of pixels become one cell of ``channels`` numbers.

    The decoder has a level of ``inner_width`` at the size of the latents, one of each of ``middle_widths`` and one of
    ``outer_width``; between levels the picture doubles, and ``blocks`` counts the blocks of each. Raises ValueError.
    """

    channels: int = 24
    inner_width: int = 160
    outer_width: int = 80
    blocks: tuple[int, ...] = (3, 2)
    spatial_factor: int = 8
    middle_widths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.blocks) != len(self.widths) or min(self.blocks) < 1:
            raise ValueError(f"blocks {self.blocks} for {len(self.widths)} levels; give one or more for each")
        if self.spatial_factor % 2 ** (len(self.widths) - 1):
            raise ValueError(f"{len(self.widths)} levels do not grow a cell of {self.spatial_factor} pixels evenly")

    @property
    def widths(self) -> tuple[int, ...]:
        """The width of each level, from the latents to the pixels."""
        return (self.inner_width, *self.middle_widths, self.outer_width)


TOON_16 = ToonAutoencoderParams(48, 256, 64, blocks=(3, 2, 2), spatial_factor=16, middle_widths=(128,))
"""Cells of 16 x 16 pixels, as those of Wan 2.2."""

TOON_16_EFFICIENT = ToonAutoencoderParams(48, 96, 24, blocks=(3, 2, 2), spatial_factor=16, middle_widths=(48,))
"""The latents of ``TOON_16``, and a decoder of less than a fifth of its multiplications."""


class ChannelNorm(nn.Module):
    """RMS norm over channels at each pixel: unlike group norm it does not depend on the size of the picture."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Divide each pixel by the root mean square of its channels, and weigh them."""
        scale = torch.rsqrt(x.float().square().mean(dim=1, keepdim=True) + 1e-6)
        return x * scale.to(x.dtype) * self.weight.to(x.dtype)[:, None, None]


class Convolution(nn.Module):
    """A square convolution whose weight is kept as the matrix it is, which is how Muon sees it."""

    def __init__(self, width: int, side: int, scale: float = 1.0) -> None:
        super().__init__()
        self.side = side
        self.weight = nn.Parameter(torch.randn(width, width * side**2) * scale / (width * side**2) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Convolve with zero padding; the size stays."""
        kernel = self.weight.unflatten(1, (-1, self.side, self.side))
        return F.conv2d(x, kernel, self.bias, padding=self.side // 2)


class Block(nn.Module):
    """A residual block: a look at the previous latent frame, then two 3 x 3 convolutions."""

    def __init__(self, width: int, name: str) -> None:
        super().__init__()
        self.name = name
        self.past = Convolution(width, 1, scale=0.0)
        self.norm1 = ChannelNorm(width)
        self.conv1 = Convolution(width, 3)
        self.norm2 = ChannelNorm(width)
        self.conv2 = Convolution(width, 3, scale=0.1)

    def forward(self, x: Float[Tensor, "n c h w"], batch: int, memory: Memory) -> Float[Tensor, "n c h w"]:
        """Go on from the features of the last frame in ``memory`` and leave those of this one there."""
        frames = x.unflatten(0, (batch, -1))
        before = memory.get(self.name)
        first = torch.zeros_like(frames[:, :1]) if before is None else before.to(frames)
        memory[self.name] = frames[:, -1:].clone()  # a view would keep all frames alive
        x = x + self.past(torch.cat([first, frames[:, :-1]], dim=1).flatten(0, 1))
        h = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(h)))


class Grow(nn.Module):
    """Doubles the picture smoothly."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, width_out, 3, padding=1)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h2 w2"]:
        """Convolve, then interpolate to twice the height and width."""
        return F.interpolate(self.conv(x), scale_factor=2, mode="bilinear")


class Level(nn.Module):
    """Twice the picture, and blocks that look at it."""

    def __init__(self, width_in: int, width: int, count: int, name: str) -> None:
        super().__init__()
        self.grow = Grow(width_in, width)
        self.blocks = _blocks(width, count, name)

    def forward(self, x: Float[Tensor, "n c h w"], batch: int, memory: Memory) -> Float[Tensor, "n d h2 w2"]:
        """See ``Block`` for ``memory``."""
        x = self.grow(x)
        for block in self.blocks:
            x = block(x, batch, memory)
        return x


class ToonAutoencoder(nn.Module):
    """The small causal autoencoder of the toon world: 8 x 8 or 16 x 16 pixels x 4 frames to one cell.

    The encoder is linear: each cell holds principal components of its pixels (the first frame counts four times, so
    that every latent owns four frames). A picture that moves a little moves its latents a little, which spares the
    backbone the hardest part of a moving head. The decoder adds to the linear inverse what a network sees in the
    neighbouring cells and in the latent frame before.
    """

    temporal_factor = 4
    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, params: ToonAutoencoderParams) -> None:
        super().__init__()
        self.params = params
        self.channels = params.channels
        self.spatial_factor = params.spatial_factor
        self.outer_side = params.spatial_factor // 2 ** (len(params.widths) - 1)
        *others, before, outer = params.widths
        inner = params.inner_width
        pixels = 3 * self.temporal_factor * self.spatial_factor**2
        self.analysis = nn.Conv2d(pixels, params.channels, 1)
        self.synthesis = nn.Conv2d(params.channels, pixels, 1)
        self.decoder_in = nn.Conv2d(params.channels, inner, 3, padding=1)
        self.decoder_inner = _blocks(inner, params.blocks[0], "inner")
        self.decoder_middle = nn.ModuleList(
            Level(*pair, count, f"middle{index}")
            for index, (pair, count) in enumerate(zip(pairwise((*others, before)), params.blocks[1:-1], strict=True))
        )
        self.grow = Grow(before, outer)
        self.decoder_outer = _blocks(outer, params.blocks[-1], "outer")
        self.decoder_norm = ChannelNorm(outer)
        self.decoder_out = nn.Conv2d(outer, 3 * self.temporal_factor * self.outer_side**2, 3, padding=1)
        nn.init.zeros_(self.decoder_out.weight)
        nn.init.zeros_(_present(self.decoder_out.bias))
        self.register_buffer("latent_mean", torch.zeros(params.channels))
        self.register_buffer("latent_std", torch.ones(params.channels))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def paint(self, latents: Float[Tensor, "b c t h w"], memory: Memory) -> Float[Tensor, "b 3 f height width"]:
        """The frames of the next latents, with gradients; ``memory`` carries the past in and out.

        The first latent ever painted, known by an empty memory, gives one frame and every other one four.
        """
        batch, first = latents.shape[0], not memory
        raw = latents * _channels(self.latent_std) + _channels(self.latent_mean)
        linear = unfold(self.synthesis(_cells(raw)), batch, self.spatial_factor)
        x = self.decoder_in(_cells(latents))
        for block in self.decoder_inner:
            x = block(x, batch, memory)
        for level in self.decoder_middle:
            x = level(x, batch, memory)
        x = self.grow(x)
        for block in self.decoder_outer:
            x = block(x, batch, memory)
        x = self.decoder_out(F.silu(self.decoder_norm(x)))
        video = linear + unfold(x, batch, self.outer_side)
        return video[:, :, self.temporal_factor - 1 :] if first else video

    def encode(self, video: Float[Tensor, "b 3 f height width"]) -> Float[Tensor, "b c t h w"]:
        """Normalised latents of a video in -1..1 of ``4k + 1`` frames, sides divisible by the spatial factor."""
        check_frames(video.shape[2], self.temporal_factor)
        video = torch.cat([video[:, :, :1].expand(-1, -1, 3, -1, -1), video], dim=2)
        raw = rearrange(self.analysis(fold(video, self.spatial_factor)), "(b t) c h w -> b c t h w", b=video.shape[0])
        return (raw.float() - _channels(self.latent_mean)) / _channels(self.latent_std)

    def decode(self, latents: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b 3 f height width"]:
        """The whole video at once: one frame for the first latent, four for each other."""
        return self.stream().push(latents)

    def stream(self, state: Mapping[str, Tensor] | None = None) -> "ToonDecodeStream":
        """A decoder for latents that arrive piece by piece."""
        return ToonDecodeStream(self, dict(state or {}))

    def stages(self) -> dict[str, nn.Module]:
        """The parts of the decoder whose features an efficient decoder is taught to have, first ones first."""
        middle = {f"middle{index}": level for index, level in enumerate(self.decoder_middle)}
        return {"inner": self.decoder_inner[-1]} | middle | {"outer": self.decoder_outer[-1]}

    def freeze_encoder(self) -> None:
        """Train the decoder only: backbones depend on the latents."""
        self.analysis.requires_grad_(requires_grad=False)


class ToonDecodeStream:
    """Decodes piece by piece, exactly as if the whole had come at once."""

    def __init__(self, autoencoder: ToonAutoencoder, memory: Memory) -> None:
        self._autoencoder = autoencoder
        self._memory = memory

    @torch.no_grad()
    def push(self, latents: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b 3 f height width"]:
        """Decode the next latents; the very first one gives a single frame."""
        network = self._autoencoder
        return network.paint(latents.to(network.decoder_in.weight.dtype), self._memory).float()

    def state(self) -> dict[str, Tensor]:
        """The last features of every causal block."""
        return dict(self._memory)


def check_frames(frames: int, temporal_factor: int) -> None:
    """Raises ValueError unless ``frames`` fill whole latents: one frame the first, ``temporal_factor`` every other."""
    if frames % temporal_factor != 1:
        near = frames - (frames - 1) % temporal_factor
        raise ValueError(
            f"{frames} frames do not fill whole latents; give {temporal_factor}k + 1 frames, such as {near}"
        )


def _cells(latents: Float[Tensor, "b c t h w"]) -> Float[Tensor, "n c h w"]:
    return rearrange(latents, "b c t h w -> (b t) c h w").contiguous(memory_format=torch.channels_last)


def fold(video: Float[Tensor, "b 3 f height width"], side: int) -> Float[Tensor, "n c h w"]:
    """Four frames of ``side`` x ``side`` pixels in the channels of one cell."""
    folded = rearrange(video, "b c (t r) (h p) (w q) -> (b t) (r c p q) h w", r=4, p=side, q=side)
    return folded.contiguous(memory_format=torch.channels_last)


def unfold(cells: Float[Tensor, "n c h w"], batch: int, side: int) -> Float[Tensor, "b 3 f height width"]:
    """The inverse of ``fold``."""
    return rearrange(cells, "(b t) (r c p q) h w -> b c (t r) (h p) (w q)", b=batch, r=4, p=side, q=side)


def _present(bias: Tensor | None) -> Tensor:
    assert bias is not None, "convolutions here have a bias"
    return bias


def _blocks(width: int, count: int, name: str) -> nn.ModuleList:
    return nn.ModuleList(Block(width, f"{name}.{index}") for index in range(count))


def _channels(per_channel: Tensor) -> Tensor:
    return per_channel[:, None, None, None]
