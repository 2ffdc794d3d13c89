"""From windows of speech features to the audio tokens of each latent frame (LongCat-Video-Avatar, section 3.1)."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from enliven.errors import RequestError


@dataclass(frozen=True, slots=True)
class AudioParams:
    """Sizes of the audio path, named as in the published config.

    A window is ``audio_window`` features around one video frame, each of ``audio_block`` hidden states of
    ``audio_channel`` channels; ``vae_scale`` video frames make a latent frame, which gets ``context_tokens`` tokens.
    ``class_range`` and ``class_interval`` are the labels of two speakers (``enliven.models.speakers``).
    """

    audio_window: int = 5
    audio_block: int = 12
    audio_channel: int = 768
    intermediate_dim: int = 512
    output_dim: int = 768
    context_tokens: int = 32
    vae_scale: int = 4
    audio_prenorm: bool = False
    class_range: int = 24
    class_interval: int = 4

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "AudioParams":
        """The sizes in a published ``config.json``; all other keys are passed over."""
        return cls(**{field.name: config[field.name] for field in fields(cls) if field.name in config})


def group_windows(
    windows: Float[Tensor, "b f w layers c"], stride: int
) -> tuple[Float[Tensor, "b 1 w layers c"], Float[Tensor, "b later grouped layers c"]]:
    """Windows of video frames, grouped as the video autoencoder groups the frames.

    The first latent frame has one window. A later one joins ``stride`` windows without their overlap: the first
    up to its centre, the centres between, the last from its centre.
    """
    middle = windows.shape[2] // 2
    later = rearrange(windows[:, 1:], "b (t g) w layers c -> b t g w layers c", g=stride)
    grouped = [later[:, :, 0, : middle + 1], later[:, :, 1:-1, middle], later[:, :, -1, middle:]]
    return windows[:, :1], torch.cat(grouped, 2)


class AudioProj(nn.Module):
    """A perceptron from one latent frame's window to its audio tokens."""

    def __init__(self, params: AudioParams) -> None:
        super().__init__()
        width, feature = params.intermediate_dim, params.audio_block * params.audio_channel
        self.tokens, self.stride = params.context_tokens, params.vae_scale
        self.proj1 = nn.Linear(params.audio_window * feature, width)
        self.proj1_vf = nn.Linear((params.audio_window + params.vae_scale - 1) * feature, width)
        self.proj2 = nn.Linear(width, width)
        self.proj3 = nn.Linear(width, params.context_tokens * params.output_dim)
        self.norm = nn.LayerNorm(params.output_dim)

    def forward(self, windows: Float[Tensor, "b f w layers c"]) -> Float[Tensor, "b t a c_out"]:
        """Tokens for ``f = 1 + stride * (t - 1)`` video frames. Raises RequestError for any other number."""
        if windows.shape[1] % self.stride != 1:
            raise RequestError(
                f"audio for {windows.shape[1]} video frames does not fill whole latent frames",
                hint=f"give a multiple of {self.stride}, plus one",
            )
        return self.project(*group_windows(windows.to(self.norm.weight.dtype), self.stride))

    def project(
        self, first: Float[Tensor, "b 1 w layers c"], later: Float[Tensor, "b later grouped layers c"]
    ) -> Float[Tensor, "b t a c_out"]:
        """Tokens for grouped windows."""
        x = torch.cat([self.proj1(first.flatten(2)), self.proj1_vf(later.flatten(2))], 1)
        x = self.proj3(F.relu(self.proj2(F.relu(x))))
        return self.norm(x.unflatten(-1, (self.tokens, -1)))
