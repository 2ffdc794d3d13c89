"""Wan2.2-TI2V-5B and Soul, which hears: the diffusion transformer, with the state-dict keys of diffusers.

A timestep belongs to a latent frame. Given frames have timestep 0 and are otherwise frames like all others.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from enliven.errors import ConfigError
from enliven.models.backbone import ClipCache, Prediction, velocity_of_clean
from enliven.models.layers import Linear32, PatchEmbedding, modulate, rope_table, timestep_embedding
from enliven.models.wan_audio import AudioProj, WanAudioParams, heard_windows
from enliven.models.wan_block import Block, Given
from enliven.types import Conditioning, LatentLayout, Text

# What a published config can ask for and this network does not have.
ALWAYS = {
    "qk_norm": "rms_norm_across_heads",
    "cross_attn_norm": True,
    "image_dim": None,
    "added_kv_proj_dim": None,
    "pos_embed_seq_len": None,
}


@dataclass(frozen=True, slots=True)
class WanParams:
    """Sizes of the network, named as in the config of diffusers; ``audio`` is None for Wan, which hears nothing.

    Published networks predict velocity.
    """

    in_channels: int = 48
    out_channels: int = 48
    num_attention_heads: int = 24
    attention_head_dim: int = 128
    num_layers: int = 30
    ffn_dim: int = 14336
    patch_size: tuple[int, int, int] = (1, 2, 2)
    text_dim: int = 4096
    freq_dim: int = 256
    eps: float = 1e-6
    predicts: Prediction = "velocity"
    audio: WanAudioParams | None = None

    def __post_init__(self) -> None:
        if self.attention_head_dim % 8:
            raise ConfigError(
                f"attention_head_dim {self.attention_head_dim} cannot be shared among time, height and width",
                hint="use a multiple of 8",
            )
        if self.patch_size[0] != 1:
            raise ConfigError(f"patch_size {self.patch_size} spans several latent frames", hint="use 1 in time")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "WanParams":
        """The sizes in a ``config.json`` of diffusers; keys that say nothing about size are passed over.

        Raises ConfigError for a Wan of another kind.
        """
        for name, expected in ALWAYS.items():
            if config.get(name, expected) != expected:
                raise ConfigError(
                    f"{name} is {config[name]!r}, expected {expected!r}", hint="only Wan2.2-TI2V and its like are known"
                )
        known = {field.name for field in fields(cls)} - {"audio"}
        sizes = {name: value for name, value in config.items() if name in known}
        if "patch_size" in sizes:
            sizes["patch_size"] = tuple(sizes["patch_size"])
        return cls(**sizes)

    @property
    def width(self) -> int:
        """Channels of a token."""
        return self.num_attention_heads * self.attention_head_dim


class Perceptron(nn.Sequential):
    """Two layers with ``activation`` between."""

    def __init__(self, first: nn.Linear, activation: nn.Module, second: nn.Linear) -> None:
        super().__init__(OrderedDict(linear_1=first, activation=activation, linear_2=second))


class ConditionEmbedder(nn.Module):
    """Timesteps, in float32, and text."""

    def __init__(self, params: WanParams) -> None:
        super().__init__()
        width = params.width
        self.frequencies = params.freq_dim
        self.time_embedder = Perceptron(Linear32(params.freq_dim, width), nn.SiLU(), Linear32(width, width))
        self.time_proj = Linear32(width, 6 * width)
        self.text_embedder = Perceptron(
            nn.Linear(params.text_dim, width), nn.GELU(approximate="tanh"), nn.Linear(width, width)
        )

    def time(self, timestep: Float[Tensor, "b t"]) -> tuple[Float[Tensor, "b t 1 c"], Float[Tensor, "b t 6 c"]]:
        """What timesteps in 0..1000 say to the output and to the blocks, once for all tokens of a latent frame."""
        embedded = self.time_embedder(timestep_embedding(timestep, self.frequencies))
        return embedded[:, :, None], self.time_proj(F.silu(embedded)).unflatten(-1, (6, -1))

    def text(self, text: Text) -> Float[Tensor, "b l c"]:
        """Project the tokens. Padding is set to zero before, and attended to like any other token."""
        return self.text_embedder(text.tokens if text.mask is None else text.tokens * text.mask[..., None])

    def initialise(self) -> None:
        """Start with small weights for time, and without modulation of the blocks."""
        for name, parameter in self.time_embedder.named_parameters():
            if name.endswith("weight"):
                nn.init.normal_(parameter, std=0.02)
        nn.init.zeros_(self.time_proj.weight)


class Wan(nn.Module):
    """The Wan backbone (see ``Backbone``); with ``params.audio``, that of Soul.

    Freshly built it is ready to train: modulations and output start at zero, and text enters softly. It must enter,
    though, since the audio layers begin as copies of the text layers behind gates that may be closed.
    """

    def __init__(self, params: WanParams) -> None:
        super().__init__()
        self.params = params
        self.patch_embedding = PatchEmbedding(params.in_channels, params.width, params.patch_size)
        self.condition_embedder = ConditionEmbedder(params)
        if params.audio is not None:
            self.audio_proj = AudioProj(params.audio, params.width)
        sizes = (params.width, params.num_attention_heads, params.ffn_dim, params.eps, params.audio)
        self.blocks = nn.ModuleList(Block(*sizes) for _ in range(params.num_layers))
        self.scale_shift_table = nn.Parameter(torch.zeros(1, 2, params.width))
        _, rows, columns = params.patch_size
        self.proj_out = Linear32(params.width, rows * columns * params.out_channels)
        self._initialise()

    def forward(
        self,
        latents: Float[Tensor, "b c t h w"],
        sigma: Float[Tensor, "b t"],
        cond: Conditioning,
        layout: LatentLayout,
        cache: ClipCache | None = None,
    ) -> Float[Tensor, "b c t h w"]:
        """Velocity, noise - clean, in float32; zero for clean frames.

        ``sigma`` is in 0..1. A cache stays empty: clean frames read the text and hear, so nothing of them holds for all
        guidance passes. Raises RequestError when the audio does not fit the layout, or the latents not the patches.
        """
        if cache is not None and not layout.cacheable:
            raise ValueError("clean frames of this layout see noise, so nothing of them holds; pass no cache")
        (rows, columns), (height, width) = self.params.patch_size[1:], latents.shape[3:]
        dtype, head_size = self.patch_embedding.weight.dtype, self.params.attention_head_dim
        x = self.patch_embedding(latents.to(dtype))
        time, block_time = self.condition_embedder.time(1000 * sigma)
        given = Given(
            time=block_time,
            rope=rope_table(layout.positions, height // rows, width // columns, head_size, latents.device),
            rules=layout.attention,
            text=self.condition_embedder.text(replace(cond.text, tokens=cond.text.tokens.to(dtype))),
            audio=self._audio_tokens(cond.audio, layout),
            grid=(height // rows, width // columns),
        )
        for block in self.blocks:
            x = block(x, given)
        predicted = self._project(x[:, layout.clean :], time[:, layout.clean :], height // rows)
        velocity = predicted
        if self.params.predicts == "clean":
            velocity = velocity_of_clean(predicted, latents[:, :, layout.clean :], sigma[:, layout.clean :])
        return F.pad(velocity, (0, 0, 0, 0, layout.clean, 0))

    def copy_audio_from_text(self) -> None:
        """Let every audio layer begin as the text layer of its block (Soul, Fig. 2); gates stay as they are."""
        for block in self._own_blocks():
            block.copy_audio_from_text()

    def _audio_tokens(self, audio: Tensor, layout: LatentLayout) -> Tensor | None:
        if self.params.audio is None:
            return None
        return self.audio_proj(heard_windows(audio, layout, self.params.audio.vae_scale))

    def _project(self, x: Tensor, time: Tensor, height: int) -> Tensor:
        """Tokens to patches of latent cells, in float32."""
        shift, scale = (self.scale_shift_table.float() + time).chunk(2, 2)
        patches = self.proj_out(modulate(x.float(), shift, scale, self.params.eps))
        _, rows, columns = self.params.patch_size
        return rearrange(patches, "b t (h w) (p q c) -> b c t (h p) (w q)", h=height, p=rows, q=columns)

    def _own_blocks(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv3d):
                nn.init.xavier_uniform_(module.weight.flatten(1))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.zeros_(self.proj_out.weight)
        self.condition_embedder.initialise()
        for block in self._own_blocks():
            block.initialise()
        if self.params.audio is not None:
            self.audio_proj.initialise()
            self.copy_audio_from_text()
