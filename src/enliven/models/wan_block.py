"""The repeated unit of Wan: self attention, text, audio (Soul) and a feed-forward layer.

Tokens stay ``b t s c``: modulation is one vector per latent frame, and audio is heard frame by frame. All frames, clean
ones included, read the text and hear their own time.
"""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Complex64, Float
from torch import Tensor, nn

from enliven.models.layers import LayerNorm32, RMSNorm, add_gated, modulate, rotate
from enliven.models.wan_audio import WanAudioParams
from enliven.runtime.attention import CrossAttend, SelfAttend
from enliven.types import AttentionRule


class Attention(nn.Module):
    """The projections of an attention layer; queries and keys are normalised over all heads together."""

    def __init__(self, width: int, heads: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width) for _ in range(3))
        self.norm_q, self.norm_k = RMSNorm(width, eps), RMSNorm(width, eps)
        self.to_out = nn.Sequential(nn.Linear(width, width))

    def _project(self, x: Tensor, context: Tensor) -> list[Tensor]:
        projected = self.norm_q(self.to_q(x)), self.norm_k(self.to_k(context)), self.to_v(context)
        return [rearrange(each, "... (n d) -> ... n d", n=self.heads) for each in projected]


class SelfAttention(Attention):
    """Attention among latent frames, with rotary positions."""

    def __init__(self, width: int, heads: int, eps: float) -> None:
        super().__init__(width, heads, eps)
        self.attend = SelfAttend()

    def forward(
        self,
        x: Float[Tensor, "b t s c"],
        rope: Complex64[Tensor, "t s pairs"],
        rules: tuple[AttentionRule, ...],
        grid: tuple[int, int] | None = None,
    ) -> Float[Tensor, "b t s c"]:
        """Attend as the rules say."""
        q, k, v = self._project(x, x)
        seen = self.attend(rotate(q, rope).to(v.dtype), rotate(k, rope).to(v.dtype), v, rules, grid=grid)
        return self.to_out(seen.flatten(-2))


class CrossAttention(Attention):
    """Attention from tokens to a context of the same width."""

    def __init__(self, width: int, heads: int, eps: float) -> None:
        super().__init__(width, heads, eps)
        self.attend = CrossAttend()

    def _read(self, x: Tensor, context: Tensor) -> Tensor:
        q, k, v = self._project(x, context)
        return self.to_out(self.attend(q.to(v.dtype), k.to(v.dtype), v).flatten(-2))


class TextAttention(CrossAttention):
    """Every token reads the whole text, its padding included."""

    def forward(self, x: Float[Tensor, "b t s c"], text: Float[Tensor, "b l c"]) -> Float[Tensor, "b t s c"]:
        """Attend to all text tokens."""
        return self._read(x.flatten(1, 2), text).view(x.shape)


class AudioAttention(CrossAttention):
    """A latent frame hears the audio tokens of its own time only."""

    def forward(self, x: Float[Tensor, "b t s c"], audio: Float[Tensor, "b t a c"]) -> Float[Tensor, "b t s c"]:
        """Attend from each frame's tokens to its audio tokens."""
        return self._read(x.flatten(0, 1), audio.flatten(0, 1)).view(x.shape)


class FeedForward(nn.Module):
    """Two layers with GELU between; the numbers in the names are those of the published weights."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        first = nn.Sequential(OrderedDict(proj=nn.Linear(width, inner)))
        self.net = nn.Sequential(first, nn.GELU(approximate="tanh"), nn.Linear(inner, width))

    def forward(self, x: Float[Tensor, "*b c"]) -> Float[Tensor, "*b c"]:
        """Transform each token on its own."""
        return self.net(x)


@dataclass(frozen=True, slots=True)
class Given:
    """What all blocks of one pass are told.

    ``time`` is the part of the modulation that all blocks share, ``grid`` the rows and columns of tokens in a frame.
    """

    time: Float[Tensor, "b t 6 c"]
    rope: Complex64[Tensor, "t s pairs"]
    rules: tuple[AttentionRule, ...]
    text: Float[Tensor, "b l c"]
    audio: Float[Tensor, "b t a c"] | None
    grid: tuple[int, int] | None = None


class Block(nn.Module):
    """One block; it hears if ``audio`` is given."""

    def __init__(self, width: int, heads: int, inner: int, eps: float, audio: WanAudioParams | None) -> None:
        super().__init__()
        self.eps = eps
        self.scale_shift_table = nn.Parameter(torch.zeros(1, 6, width))
        self.attn1 = SelfAttention(width, heads, eps)
        self.norm2 = LayerNorm32(width, eps=eps)
        self.attn2 = TextAttention(width, heads, eps)
        if audio is not None:
            self.norm_audio = LayerNorm32(width, eps=eps)
            self.attn_audio = AudioAttention(width, heads, eps)
            # One number, in a vector because sharded training takes no parameter without an axis.
            self.audio_gate = nn.Parameter(torch.full((1,), audio.gate_init))
        self.ffn = FeedForward(width, inner)

    def forward(self, x: Float[Tensor, "b t s c"], given: Given) -> Float[Tensor, "b t s c"]:
        """Transform all frames of the clip."""
        modulation = (self.scale_shift_table.float() + given.time).chunk(6, 2)
        shift, scale, gate, shift_ffn, scale_ffn, gate_ffn = modulation
        seen = self.attn1(modulate(x, shift, scale, self.eps), given.rope, given.rules, given.grid)
        x = add_gated(x, gate, seen)
        x = x + self.attn2(self.norm2(x), given.text)
        if given.audio is not None:
            x = add_gated(x, self.audio_gate.float().expand_as(gate), self.attn_audio(self.norm_audio(x), given.audio))
        return add_gated(x, gate_ffn, self.ffn(modulate(x, shift_ffn, scale_ffn, self.eps)))

    def initialise(self) -> None:
        """Let text enter softly. Modulations are zero already."""
        nn.init.normal_(self.attn2.to_out.get_parameter("0.weight"), std=0.02)

    @torch.no_grad()
    def copy_audio_from_text(self) -> None:
        """Let the audio layer begin as the text layer, its norm included; the gate stays as it is."""
        for audio, text in ((self.attn_audio, self.attn2), (self.norm_audio, self.norm2)):
            for copy, original in zip(audio.parameters(), text.parameters(), strict=True):
                copy.copy_(original)
