"""The Wan 2.1 autoencoder, which LongCat-Video uses: 8 x 8 x 4 to one cell of 16 channels.

The network is that of diffusers; ours is the contract, above all decoding piece by piece.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from enliven.errors import MissingExtra

REPEATED = "Rep"  # how the network marks a cache that the first frame left empty


@dataclass(frozen=True, slots=True)
class WanAutoencoderParams:
    """What differs from the published Wan 2.1 sizes, named as in the published config."""

    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def channels(self) -> int:
        """Channels of a latent cell."""
        return self.config.get("z_dim", 16)


class WanAutoencoder(nn.Module):
    """See ``VideoAutoencoder``. Raises MissingExtra where diffusers is not installed."""

    spatial_factor = 8
    temporal_factor = 4
    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, params: WanAutoencoderParams) -> None:
        super().__init__()
        self.params = params
        self.channels = params.channels
        self.network = _network(params.config)
        published = self.network.config
        self.register_buffer("latent_mean", _channels(published.latents_mean), persistent=False)
        self.register_buffer("latent_std", _channels(published.latents_std), persistent=False)

    @torch.no_grad()
    def encode(self, video: Float[Tensor, "b 3 f height width"]) -> Float[Tensor, "b c t h w"]:
        """The mode of the latents of a video in -1..1 of ``4k + 1`` frames, normalised."""
        raw = self.network.encode(video.to(self.network.dtype)).latent_dist.mode()
        return (raw.float() - self.latent_mean) / self.latent_std

    def decode(self, latents: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b 3 f height width"]:
        """The whole video at once: one frame for the first latent, four for each other."""
        return self.stream().push(latents)

    def stream(self, state: Mapping[str, Tensor] | None = None) -> "WanDecodeStream":
        """A decoder for latents that arrive piece by piece."""
        return WanDecodeStream(self, state or {})


class WanDecodeStream:
    """Decodes latent after latent, each causal convolution remembering its last inputs."""

    def __init__(self, autoencoder: WanAutoencoder, state: Mapping[str, Tensor]) -> None:
        self._autoencoder = autoencoder
        self._begun = bool(state)
        count = int(state["count"]) if state else autoencoder.network._cached_conv_counts["decoder"]
        self._memory: list[Any] = [_remembered(state.get(str(index))) for index in range(count)]

    @torch.no_grad()
    def push(self, latents: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b 3 f height width"]:
        """Decode the next latents; the very first one gives a single frame."""
        autoencoder, network = self._autoencoder, self._autoencoder.network
        raw = latents.float() * autoencoder.latent_std + autoencoder.latent_mean
        parts = []
        for frame in network.post_quant_conv(raw.to(network.dtype)).split(1, dim=2):
            first, self._begun = not self._begun, True
            parts.append(network.decoder(frame, feat_cache=self._memory, feat_idx=[0], first_chunk=first))
        return torch.cat(parts, 2).float().clamp(-1, 1)

    def state(self) -> dict[str, Tensor]:
        """The cache of each convolution; an empty tensor where the network counts it as repeated."""
        kept = {str(index): value for index, value in enumerate(self._memory) if value is not None}
        tensors = {name: torch.zeros(0) if isinstance(value, str) else value for name, value in kept.items()}
        return {"count": torch.tensor(len(self._memory)), **tensors} if self._begun else {}


def _network(config: Mapping[str, Any]) -> Any:
    try:
        from diffusers import AutoencoderKLWan  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra(
            "the Wan autoencoder needs diffusers, which is not installed", hint="pip install 'enliven[full]'"
        ) from error
    return AutoencoderKLWan(**{name: value for name, value in config.items() if not name.startswith("_")})


def _remembered(value: Tensor | None) -> Any:
    return REPEATED if value is not None and not value.numel() else value


def _channels(values: list[float]) -> Float[Tensor, "c 1 1 1"]:
    return torch.tensor(values)[:, None, None, None]
