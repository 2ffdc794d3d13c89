"""From windows of speech features to the audio tokens of each latent frame of Soul.

Every video frame gives the same number of tokens, and a latent frame hears those of its own video frames.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from enliven.errors import ConfigError, RequestError
from enliven.types import LatentLayout


@dataclass(frozen=True, slots=True)
class WanAudioParams:
    """Sizes of the audio path; the defaults fit the hidden states of Whisper tiny at 25 video frames a second.

    A window is ``audio_window`` features around one video frame, each of ``audio_block`` hidden states of
    ``audio_channel`` channels. It becomes ``tokens`` tokens, and ``vae_scale`` video frames make a latent frame. The
    gate of each audio layer starts at ``gate_init``: 0 leaves the network as it was without audio.
    """

    audio_window: int = 10
    audio_block: int = 5
    audio_channel: int = 384
    intermediate_dim: int = 1024
    tokens: int = 4
    vae_scale: int = 4
    gate_init: float = 0.0

    def __post_init__(self) -> None:
        for name in ("audio_window", "audio_block", "audio_channel", "intermediate_dim", "tokens", "vae_scale"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, expected at least 1", hint="give a positive size")


def heard_windows(
    audio: Float[Tensor, "b p f w layers c"], layout: LatentLayout, stride: int
) -> Float[Tensor, "b slots w layers c"]:
    """One window for each of the ``stride`` video frames of each latent frame; zeros where there is no sound.

    A reference shows a moment from outside the clip, and hears null audio: the sound has ``stride`` video frames for
    each other latent frame. A clip without a reference starts with a latent frame of a single video frame, which
    hears null audio too, and its window is left out. Raises RequestError for another number of video frames or people.
    """
    if audio.shape[1] != 1:
        raise RequestError(f"audio of {audio.shape[1]} people, but this network hears one", hint="give one voice")
    silent = layout.references or 1
    heard = stride * (len(layout) - silent)
    expected = heard if layout.references else 1 + heard
    if audio.shape[2] != expected:
        raise RequestError(
            f"audio for {audio.shape[2]} video frames, but the {len(layout)} latent frames of this clip, "
            f"{layout.references} of them references, need {expected}",
            hint="cut the audio to the video frames that the clip hears",
        )
    return F.pad(audio[:, 0, expected - heard :], (0, 0) * 3 + (stride * silent, 0))


class AudioProj(nn.Module):
    """A perceptron from the window of one video frame to tokens of ``width`` channels."""

    def __init__(self, params: WanAudioParams, width: int) -> None:
        super().__init__()
        self.tokens, self.stride = params.tokens, params.vae_scale
        inner = params.intermediate_dim
        self.proj1 = nn.Linear(params.audio_window * params.audio_block * params.audio_channel, inner)
        self.proj2 = nn.Linear(inner, inner)
        self.proj3 = nn.Linear(inner, params.tokens * width)
        self.norm = nn.LayerNorm(width)

    def forward(self, windows: Float[Tensor, "b f w layers c"]) -> Float[Tensor, "b t a c_out"]:
        """Tokens of ``f / vae_scale`` latent frames; the tokens of their video frames follow one another."""
        x = windows.to(self.norm.weight.dtype).flatten(2)
        x = self.proj3(F.silu(self.proj2(F.silu(self.proj1(x)))))
        tokens = self.norm(x.unflatten(-1, (self.tokens, -1)))
        return rearrange(tokens, "b (t g) n c -> b t (g n) c", g=self.stride)

    def initialise(self) -> None:
        """Give null audio tokens of its own: the norm of a zero vector would have a gradient without measure."""
        nn.init.normal_(self.proj3.bias, std=0.1)
