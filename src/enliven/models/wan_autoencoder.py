"""The Wan autoencoders, whose network is that of diffusers; ours is the contract, above all decoding piece by piece.

Wan 2.1, which LongCat-Video uses, makes one cell of 16 numbers of 8 x 8 pixels x 4 frames. Wan 2.2, which Soul uses,
makes one cell of 48 numbers of 16 x 16 pixels x 4 frames. Soul's efficient autoencoder, the eVAE, is Wan 2.2 with a
decoder of a quarter of the width.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from enliven.errors import MissingExtra
from enliven.models.vae import Memory, check_frames

REPEATED = "Rep"  # how the network marks a cache that the first frame left empty
IGNORED = {"clip_output"}  # written by a conversion script, known to no network


@dataclass(frozen=True, slots=True)
class WanAutoencoderParams:
    """What differs from the published Wan 2.1 sizes, named as in the published config."""

    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def channels(self) -> int:
        """Channels of a latent cell."""
        return self.config.get("z_dim", 16)

    @property
    def spatial_factor(self) -> int:
        """Pixels along one side of a latent cell: patches of pixels, halved between the levels."""
        return 2 ** (len(self.config.get("dim_mult", (1, 2, 4, 4))) - 1) * (self.config.get("patch_size") or 1)

    @property
    def temporal_factor(self) -> int:
        """Frames of every latent but the first."""
        return 2 ** sum(self.config.get("temperal_downsample", (False, True, True)))


# Mean and spread of each latent channel, as published with the weights of Wan 2.2 TI2V 5B.
_MEAN_2_2 = """
-0.2289 -0.0052 -0.1323 -0.2339 -0.2799  0.0174  0.1838  0.1557 -0.1382  0.0542  0.2813  0.0891
 0.1570 -0.0098  0.0375 -0.1825 -0.2246 -0.1207 -0.0698  0.5109  0.2665 -0.2108 -0.2158  0.2502
-0.2055 -0.0322  0.1109  0.1567 -0.0729  0.0899 -0.2799 -0.1230 -0.0313 -0.1649  0.0117  0.0723
-0.2839 -0.2083 -0.0520  0.3748  0.0152  0.1957  0.1433 -0.2944  0.3573 -0.0548 -0.1681 -0.0667
"""
_STD_2_2 = """
0.4765 1.0364 0.4514 1.1677 0.5313 0.4990 0.4818 0.5013 0.8158 1.0344 0.5894 1.0901
0.6885 0.6165 0.8454 0.4978 0.5759 0.3523 0.7135 0.6804 0.5833 1.4146 0.8986 0.5659
0.7069 0.5338 0.4889 0.4917 0.4069 0.4999 0.6866 0.4093 0.5709 0.6065 0.6415 0.4944
0.5726 1.2042 0.5458 1.6887 0.3971 1.0600 0.3943 0.5537 0.5444 0.4089 0.7468 0.7744
"""

WAN_2_2 = WanAutoencoderParams(
    {
        "base_dim": 160,
        "decoder_base_dim": 256,
        "z_dim": 48,
        "dim_mult": [1, 2, 4, 4],
        "num_res_blocks": 2,
        "temperal_downsample": [False, True, True],
        "is_residual": True,
        "in_channels": 12,
        "out_channels": 12,
        "patch_size": 2,
        "scale_factor_spatial": 16,
        "scale_factor_temporal": 4,
        "latents_mean": [float(number) for number in _MEAN_2_2.split()],
        "latents_std": [float(number) for number in _STD_2_2.split()],
    }
)
"""The autoencoder of Wan 2.2 TI2V 5B: decoder 555.05 M parameters (Soul, Table 1)."""

EVAE = WanAutoencoderParams({**WAN_2_2.config, "decoder_base_dim": 64})
"""Soul's efficient autoencoder: the encoder of Wan 2.2, a decoder of 34.97 M parameters (Soul, Table 1)."""


class WanAutoencoder(nn.Module):
    """See ``VideoAutoencoder``. Raises MissingExtra where diffusers is not installed.

    Latents are normalised with the mean and spread in the config; without them Wan 2.1's are taken, and for latents
    of another number of channels none.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, params: WanAutoencoderParams) -> None:
        super().__init__()
        self.params = params
        self.channels = params.channels
        self.spatial_factor = params.spatial_factor
        self.temporal_factor = params.temporal_factor
        self.network = _network(params)
        published = self.network.config
        self.register_buffer("latent_mean", _channels(published.latents_mean), persistent=False)
        self.register_buffer("latent_std", _channels(published.latents_std), persistent=False)

    @torch.no_grad()
    def encode(self, video: Float[Tensor, "b 3 f height width"]) -> Float[Tensor, "b c t h w"]:
        """The mode of the latents of a video in -1..1 of ``4k + 1`` frames, normalised; else ValueError."""
        check_frames(video.shape[2], self.temporal_factor)
        raw = self.network.encode(video.to(self.network.dtype)).latent_dist.mode()
        return (raw.float() - self.latent_mean) / self.latent_std

    def paint(self, latents: Float[Tensor, "b c t h w"], memory: Memory) -> Float[Tensor, "b 3 f height width"]:
        """The frames of the next latents, with gradients and not clamped; ``memory`` carries the past in and out.

        Latents are decoded one after the other, so that memory does not grow with their number.
        """
        network = self.network
        raw = latents * self.latent_std + self.latent_mean
        parts = []
        for frame in network.post_quant_conv(raw.to(network.dtype)).split(1, dim=2):
            caches = [_remembered(memory.get(str(index))) for index in range(network._cached_conv_counts["decoder"])]
            parts.append(network.decoder(frame, feat_cache=caches, feat_idx=[0], first_chunk=not memory))
            memory |= {str(index): _kept(cache) for index, cache in enumerate(caches) if cache is not None}
        side = network.config.patch_size or 1
        return rearrange(torch.cat(parts, 2), "b (c q p) f h w -> b c f (h p) (w q)", p=side, q=side)

    def decode(self, latents: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b 3 f height width"]:
        """The whole video at once: one frame for the first latent, four for each other."""
        return self.stream().push(latents)

    def stream(self, state: Mapping[str, Tensor] | None = None) -> "WanDecodeStream":
        """A decoder for latents that arrive piece by piece."""
        return WanDecodeStream(self, dict(state or {}))

    def stages(self) -> dict[str, nn.Module]:
        """The parts of the decoder whose features an efficient decoder is taught to have, first ones first."""
        decoder = self.network.decoder
        return {"middle": decoder.mid_block} | {f"up{index}": block for index, block in enumerate(decoder.up_blocks)}

    def freeze_encoder(self) -> None:
        """Train the decoder only: backbones depend on the latents."""
        for part in (self.network.encoder, self.network.quant_conv):
            part.requires_grad_(requires_grad=False)


class WanDecodeStream:
    """Decodes latent after latent, each causal convolution remembering its last two inputs."""

    def __init__(self, autoencoder: WanAutoencoder, memory: Memory) -> None:
        self._autoencoder = autoencoder
        self._memory = memory

    @torch.no_grad()
    def push(self, latents: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b 3 f height width"]:
        """Decode the next latents; the very first one gives a single frame."""
        return self._autoencoder.paint(latents, self._memory).float().clamp(-1, 1)

    def state(self) -> dict[str, Tensor]:
        """The cache of each convolution; an empty tensor where the network counts it as repeated."""
        return dict(self._memory)


def _network(params: WanAutoencoderParams) -> Any:
    try:
        from diffusers import AutoencoderKLWan  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra(
            "the Wan autoencoder needs diffusers, which is not installed", hint="pip install 'enliven[full]'"
        ) from error
    known = {name: value for name, value in params.config.items() if name[0] != "_" and name not in IGNORED}
    if params.channels != WanAutoencoderParams().channels:
        known = {"latents_mean": [0.0] * params.channels, "latents_std": [1.0] * params.channels} | known
    return AutoencoderKLWan(**known)


def _remembered(value: Tensor | None) -> Any:
    return REPEATED if value is not None and not value.numel() else value


def _kept(cache: Any) -> Tensor:
    return torch.zeros(0) if isinstance(cache, str) else cache


def _channels(values: list[float]) -> Float[Tensor, "c 1 1 1"]:
    return torch.tensor(values)[:, None, None, None]
