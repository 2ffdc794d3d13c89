"""The repeated unit of LongCat: self attention, text, audio and a feed-forward layer.

Tokens stay ``b t s c``: modulation is one vector per latent frame, and audio is heard frame by frame.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Complex64, Float
from torch import Tensor, nn

from enliven.models.backbone import BlockCache
from enliven.models.layers import LayerNorm32, Linear32, RMSNorm, add_gated, modulate, rotate
from enliven.models.longcat_audio import AudioParams
from enliven.models.speakers import Labels, LabelSpeakers, Speakers, turn
from enliven.runtime.attention import CrossAttend, SelfAttend
from enliven.types import AttentionRule, Text


@dataclass(frozen=True, slots=True)
class Given:
    """What all blocks of one pass are told.

    The first ``clean`` frames of the pass are given and hear neither text nor audio. ``rope`` and ``rules`` speak of
    all frames of the clip. ``audio`` holds the tokens of one voice after another; with several, ``speakers`` says
    whose they are. ``grid`` are the rows and columns of tokens in a frame.
    """

    time: Float[Tensor, "b t e"]
    rope: Complex64[Tensor, "all s pairs"]
    rules: tuple[AttentionRule, ...]
    clean: int
    text: Text
    audio: Float[Tensor, "b noise a c"] | None
    speakers: Speakers | None = None
    grid: tuple[int, int] | None = None


class SelfAttention(nn.Module):
    """Attention among latent frames, with rotary positions and normalised queries and keys."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.q_norm = RMSNorm(width // heads)
        self.k_norm = RMSNorm(width // heads)
        self.attend = SelfAttend()
        self.label = LabelSpeakers()
        self.proj = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "b t s c"], given: Given, memory: BlockCache | None = None
    ) -> tuple[Float[Tensor, "b t s c"], Labels | None]:
        """Attend among ``x`` and the frames in ``memory``; rotation comes after, so memory holds unrotated keys.

        With several speakers, also the labels that say whom each noise token belongs to.
        """
        q, k, v = rearrange(self.qkv(x), "b t s (three n d) -> three b t s n d", three=3, n=self.heads)
        q, k = self.q_norm(q), self.k_norm(k)
        if memory is not None:
            k, v = memory.extend(k, v)
        frames = k.shape[1]
        offset = frames - x.shape[1]
        q, k = rotate(q, given.rope[offset:frames]).to(v.dtype), rotate(k, given.rope[:frames]).to(v.dtype)
        seen = self.attend(q, k, v, given.rules, offset, given.grid)
        return self.proj(seen.flatten(-2)), self._label(q[:, given.clean :], k[:, 0], given.speakers)

    def _label(self, q: Tensor, reference: Tensor, speakers: Speakers | None) -> Labels | None:
        if speakers is None or not q.shape[1]:
            return None
        return Labels(self.label(q, reference, speakers), speakers.voices)


class CrossAttention(nn.Module):
    """Attention from tokens to a context of ``channels`` channels, with normalised queries and keys."""

    def __init__(self, width: int, heads: int, channels: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_linear = nn.Linear(width, width)
        self.kv_linear = nn.Linear(channels, 2 * width)
        self.q_norm = RMSNorm(width // heads)
        self.k_norm = RMSNorm(width // heads)
        self.attend = CrossAttend()
        self.proj = nn.Linear(width, width)

    def _read(self, x: Tensor, context: Tensor, mask: Tensor | None = None, labels: Labels | None = None) -> Tensor:
        q = rearrange(self.q_linear(x), "b q (n d) -> b q n d", n=self.heads)
        k, v = rearrange(self.kv_linear(context), "b k (two n d) -> two b k n d", two=2, n=self.heads)
        q, k = self.q_norm(q), self.k_norm(k)
        if labels is not None:
            q, k = turn(q, labels.tokens.flatten(0, 1)), turn(k, labels.voices)
        seen = self.attend(q.to(v.dtype), k.to(v.dtype), v, mask)
        return self.proj(seen.flatten(-2))


class TextAttention(CrossAttention):
    """Every token reads the whole text."""

    def forward(self, x: Float[Tensor, "b t s c"], text: Text) -> Float[Tensor, "b t s c"]:
        """Attend to the text tokens that are not masked."""
        return self._read(x.flatten(1, 2), text.tokens, text.mask).view(x.shape)


class AudioAttention(CrossAttention):
    """A latent frame hears the audio tokens of its own time only."""

    def forward(
        self, x: Float[Tensor, "b t s c"], audio: Float[Tensor, "b t a c_audio"], labels: Labels | None = None
    ) -> Float[Tensor, "b t s c"]:
        """Attend from each frame's tokens to its audio tokens; labels, if any, say who belongs to whom."""
        return self._read(x.flatten(0, 1), audio.flatten(0, 1), labels=labels).view(x.shape)


class FeedForward(nn.Module):
    """SwiGLU: ``w2(silu(w1 x) * w3 x)``."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(width, inner, bias=False)
        self.w2 = nn.Linear(inner, width, bias=False)
        self.w3 = nn.Linear(width, inner, bias=False)

    def forward(self, x: Float[Tensor, "*b c"]) -> Float[Tensor, "*b c"]:
        """Transform each token on its own."""
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    """One block; it hears if ``audio`` is given."""

    def __init__(self, width: int, heads: int, inner: int, time: int, audio: AudioParams | None) -> None:
        super().__init__()
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), Linear32(time, 6 * width))
        self.attn = SelfAttention(width, heads)
        self.pre_crs_attn_norm = LayerNorm32(width, eps=1e-6)
        self.cross_attn = TextAttention(width, heads, width)
        self.ffn = FeedForward(width, inner)
        if audio is not None:
            self.audio_adaLN_modulation = nn.Sequential(nn.SiLU(), Linear32(time, 3 * width))
            self.pre_video_crs_attn_norm = LayerNorm32(width, eps=1e-6)
            if audio.audio_prenorm:
                self.pre_audio_crs_attn_norm = LayerNorm32(audio.output_dim, eps=1e-6)
            self.audio_cross_attn = AudioAttention(width, heads, audio.output_dim)

    def forward(
        self, x: Float[Tensor, "b t s c"], given: Given, memory: BlockCache | None = None
    ) -> Float[Tensor, "b t s c"]:
        """Transform the frames ``x``; with a memory, those that are not in it yet."""
        modulation = self.adaLN_modulation(given.time)[:, :, None].chunk(6, -1)
        shift, scale, gate, shift_ffn, scale_ffn, gate_ffn = modulation
        seen, labels = self.attn(modulate(x, shift, scale), given, memory)
        x = self._listen(add_gated(x, gate, seen), given, labels)
        return add_gated(x, gate_ffn, self.ffn(modulate(x, shift_ffn, scale_ffn)))

    def _listen(self, x: Tensor, given: Given, labels: Labels | None) -> Tensor:
        if given.clean == x.shape[1]:
            return x
        clean, noise = x.split_with_sizes([given.clean, x.shape[1] - given.clean], 1)
        noise = noise + self.cross_attn(self.pre_crs_attn_norm(noise), given.text)
        if given.audio is not None:
            noise = self._hear(noise, given.audio, given.time[:, given.clean :], labels)
        return torch.cat([clean, noise], 1) if given.clean else noise

    def _hear(self, noise: Tensor, audio: Tensor, time: Tensor, labels: Labels | None) -> Tensor:
        """Section 3.1: the modulation acts on what was heard, so a zero gate is the network without audio."""
        shift, scale, gate = self.audio_adaLN_modulation(time)[:, :, None].chunk(3, -1)
        if hasattr(self, "pre_audio_crs_attn_norm"):
            audio = self.pre_audio_crs_attn_norm(audio)
        heard = self.audio_cross_attn(self.pre_video_crs_attn_norm(noise), audio, labels)
        return add_gated(noise, gate, modulate(heard, shift, scale))

    def initialise(self) -> None:
        """Start as the identity: zero all modulations, and the projection of text, which has none."""
        layers = [self.adaLN_modulation, self.cross_attn.proj]
        if hasattr(self, "audio_adaLN_modulation"):
            layers.append(self.audio_adaLN_modulation)
        for layer in layers:
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)
