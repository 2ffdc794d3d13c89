"""LongCat-Video and LongCat-Video-Avatar: the diffusion transformer, with the published state-dict keys.

Sections are those of the LongCat-Video-Avatar paper.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from enliven.errors import ConfigError, RequestError
from enliven.models.backbone import ClipCache, Prediction, velocity_of_clean
from enliven.models.layers import Linear32, PatchEmbedding, modulate, rope_table, timestep_embedding
from enliven.models.longcat_audio import AudioParams, AudioProj
from enliven.models.longcat_block import Block, Given
from enliven.models.speakers import Banding, Speakers, band_each, place_speakers
from enliven.types import Conditioning, LatentLayout, Text


@dataclass(frozen=True, slots=True)
class LongCatParams:
    """Sizes of the network, named as in the published config; ``audio`` is None for the base, which hears nothing.

    Published networks predict velocity.
    """

    in_channels: int = 16
    out_channels: int = 16
    hidden_size: int = 4096
    depth: int = 48
    num_heads: int = 32
    caption_channels: int = 4096
    mlp_ratio: int = 4
    adaln_tembed_dim: int = 512
    frequency_embedding_size: int = 256
    patch_size: tuple[int, int, int] = (1, 2, 2)
    text_tokens_zero_pad: bool = True
    predicts: Prediction = "velocity"
    audio: AudioParams | None = None

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_heads:
            raise ConfigError(
                f"hidden_size {self.hidden_size} cannot be shared among {self.num_heads} heads",
                hint="make hidden_size a multiple of num_heads",
            )
        if self.patch_size[0] != 1:
            raise ConfigError(f"patch_size {self.patch_size} spans several latent frames", hint="use 1 in time")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "LongCatParams":
        """The sizes in a published ``config.json``; keys that say nothing about size are passed over."""
        known = {field.name for field in fields(cls)}
        sizes = {name: value for name, value in config.items() if name in known}
        if "patch_size" in sizes:
            sizes["patch_size"] = tuple(sizes["patch_size"])
        avatar = "Avatar" in config.get("_class_name", "")
        return cls(**sizes, audio=AudioParams.from_config(config) if avatar else None)

    @property
    def ffn_size(self) -> int:
        """Width of the feed-forward layer: two thirds of ``mlp_ratio``, rounded up to a multiple of 256."""
        return 256 * -(-(2 * self.hidden_size * self.mlp_ratio // 3) // 256)


class PatchEmbedder(nn.Module):
    """One token for each patch of latent cells."""

    def __init__(self, params: LongCatParams) -> None:
        super().__init__()
        self.proj = PatchEmbedding(params.in_channels, params.hidden_size, params.patch_size)

    def forward(self, latents: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b t s c_out"]:
        """Project the patches. Raises RequestError when the cells cannot be cut into patches."""
        return self.proj(latents)


class TimestepEmbedder(nn.Module):
    """One vector per latent frame for its noise level, in float32."""

    def __init__(self, params: LongCatParams) -> None:
        super().__init__()
        width = params.adaln_tembed_dim
        self.frequencies = params.frequency_embedding_size
        self.mlp = nn.Sequential(Linear32(self.frequencies, width), nn.SiLU(), Linear32(width, width))

    def forward(self, timestep: Float[Tensor, "b t"]) -> Float[Tensor, "b t e"]:
        """Embed timesteps in 0..1000."""
        return self.mlp(timestep_embedding(timestep, self.frequencies))

    def initialise(self) -> None:
        """Start with small weights, as diffusion transformers do."""
        for name, parameter in self.mlp.named_parameters():
            if name.endswith("weight"):
                nn.init.normal_(parameter, std=0.02)


class CaptionEmbedder(nn.Module):
    """Encoded text, brought to the width of the network."""

    def __init__(self, params: LongCatParams) -> None:
        super().__init__()
        self.zero_pad = params.text_tokens_zero_pad
        self.y_proj = nn.Sequential(
            nn.Linear(params.caption_channels, params.hidden_size),
            nn.GELU(approximate="tanh"),
            nn.Linear(params.hidden_size, params.hidden_size),
        )

    def forward(self, text: Text) -> Text:
        """Project the tokens. With zero padding, padded tokens become zeros that are attended to like any other."""
        tokens = self.y_proj(text.tokens)
        if text.mask is not None and self.zero_pad:
            return Text(tokens * text.mask[..., None])
        return Text(tokens, text.mask)


class FinalLayer(nn.Module):
    """Tokens back to patches of latent cells, in float32."""

    def __init__(self, params: LongCatParams) -> None:
        super().__init__()
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), Linear32(params.adaln_tembed_dim, 2 * params.hidden_size))
        _, self.rows, self.columns = params.patch_size
        self.linear = Linear32(params.hidden_size, self.rows * self.columns * params.out_channels)

    def forward(
        self, x: Float[Tensor, "b t s c_in"], time: Float[Tensor, "b t e"], height: int
    ) -> Float[Tensor, "b c t h w"]:
        """Project and lay out the tokens of a grid of ``height`` rows."""
        shift, scale = self.adaLN_modulation(time)[:, :, None].chunk(2, -1)
        patches = self.linear(modulate(x, shift, scale))
        layout = "b t (h w) (p q c) -> b c t (h p) (w q)"
        return rearrange(patches, layout, h=height, p=self.rows, q=self.columns)

    def initialise(self) -> None:
        """Start by predicting zero."""
        for parameter in self.parameters():
            nn.init.zeros_(parameter)


class LongCat(nn.Module):
    """The LongCat backbone (see ``Backbone``).

    Freshly built it is ready to train: modulations and output start at zero, so each block begins as the identity
    and audio enters gradually (section 3.1). It hears one voice, or several, each bound to the person in its region
    of the first frame (section 3.5); ``banding`` shares out their labels.
    """

    def __init__(self, params: LongCatParams) -> None:
        super().__init__()
        self.params = params
        self.banding: Banding = band_each
        self.x_embedder = PatchEmbedder(params)
        self.t_embedder = TimestepEmbedder(params)
        self.y_embedder = CaptionEmbedder(params)
        if params.audio is not None:
            self.audio_proj = AudioProj(params.audio)
        sizes = (params.hidden_size, params.num_heads, params.ffn_size, params.adaln_tembed_dim, params.audio)
        self.blocks = nn.ModuleList(Block(*sizes) for _ in range(params.depth))
        self.final_layer = FinalLayer(params)
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

        ``sigma`` is in 0..1. An empty cache is filled by a pass over the clean frames. Raises RequestError when the
        audio does not fit the layout or the regions, or the latents not the patches.
        """
        if cache is not None and not layout.cacheable:
            raise ValueError("clean frames of this layout see noise, so nothing of them holds; pass no cache")
        x, given = self._embed(latents, sigma, cond, layout)
        x = self._run(x, given)[:, layout.clean :] if cache is None else self._run_cached(x, given, cache)
        predicted = self.final_layer(x, given.time[:, layout.clean :], latents.shape[3] // self.params.patch_size[1])
        if self.params.predicts == "clean":
            velocity = velocity_of_clean(predicted, latents[:, :, layout.clean :], sigma[:, layout.clean :])
        else:
            velocity = -predicted  # the published network predicts clean - noise
        return F.pad(velocity, (0, 0, 0, 0, layout.clean, 0))

    def _embed(self, latents: Tensor, sigma: Tensor, cond: Conditioning, layout: LatentLayout) -> tuple[Tensor, Given]:
        dtype, (_, rows, columns) = self.x_embedder.proj.weight.dtype, self.params.patch_size
        x = self.x_embedder(latents.to(dtype))
        height, width = latents.shape[3] // rows, latents.shape[4] // columns
        head_size = self.params.hidden_size // self.params.num_heads
        given = Given(
            time=self.t_embedder((1000 * sigma).to(dtype)),
            rope=rope_table(layout.positions, height, width, head_size, latents.device),
            rules=layout.attention,
            clean=layout.clean,
            text=self.y_embedder(replace(cond.text, tokens=cond.text.tokens.to(dtype))),
            audio=self._audio_tokens(cond.audio, layout),
            speakers=self._speakers(cond, layout, (height, width)),
            grid=(height, width),
        )
        return x, given

    def _audio_tokens(self, audio: Tensor, layout: LatentLayout) -> Tensor | None:
        """Tokens of the noise frames. A reference from outside the clip has no sound of its own and needs none."""
        if self.params.audio is None:
            return None
        tokens = rearrange(self.audio_proj(audio.flatten(0, 1)), "(b p) t a c -> b t (p a) c", b=len(audio))
        if not len(layout) - layout.references <= tokens.shape[1] <= len(layout):
            raise RequestError(
                f"audio for {tokens.shape[1]} latent frames, but the clip has {len(layout)}",
                hint="cut the audio to the video frames that the clip hears",
            )
        return tokens[:, tokens.shape[1] - (len(layout) - layout.clean) :]

    def _speakers(self, cond: Conditioning, layout: LatentLayout, grid: tuple[int, int]) -> Speakers | None:
        """Who speaks where. One voice is for everybody, and regions say nothing then."""
        audio, voices = self.params.audio, cond.audio.shape[1]
        if audio is None or voices == 1:
            return None
        if cond.regions is None or not layout.clean:
            missing = "a first frame that shows them" if cond.regions is not None else "the region of each speaker"
            raise RequestError(f"{voices} voices, but not {missing}", hint="give a portrait, and who is where in it")
        bands = self.banding(voices, cond.regions.shape[1], audio.class_range, audio.class_interval)
        return place_speakers(cond.regions, grid, bands, audio.context_tokens)

    def _run(self, x: Tensor, given: Given, cache: ClipCache | None = None) -> Tensor:
        for index, block in enumerate(self.blocks):
            x = block(x, given, None if cache is None else cache[index])
        return x

    def _run_cached(self, x: Tensor, given: Given, cache: ClipCache) -> Tensor:
        """The noise frames after all blocks; clean frames go through the blocks once, to fill the cache."""
        clean = given.clean
        if not cache.filled:
            self._run(x[:, :clean], replace(given, time=given.time[:, :clean]), cache)
        return self._run(x[:, clean:], replace(given, time=given.time[:, clean:], clean=0), cache)

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv3d):
                nn.init.xavier_uniform_(module.weight.flatten(1))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, TimestepEmbedder | FinalLayer | Block):
                module.initialise()
