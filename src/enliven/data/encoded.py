"""Encoded clips: what the backbone trains on, made once by the frozen encoders."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from enliven.data.clips import FPS, ToonClip
from enliven.models.audio import AudioEncoder
from enliven.models.vae import VideoAutoencoder


@dataclass(frozen=True, slots=True)
class EncodedClip:
    """A clip as latents and features; ``references`` are single frames encoded as pictures, one for each latent frame.

    ``audio`` holds a whole number ``a / f`` of features for each video frame; all zeros where there is no sound.
    """

    latents: Float[Tensor, "c t h w"]
    references: Float[Tensor, "r c h w"]
    reference_frames: Int[Tensor, "r"]
    audio: Float[Tensor, "a layers c_audio"]
    mouth: Float[Tensor, "f 5"]
    caption: str
    silent: bool


@torch.no_grad()
def encode_clip(clip: ToonClip, vae: VideoAutoencoder, hearing: AudioEncoder, *, seed: int = 0) -> EncodedClip:
    """Encode a drawn clip; silence is encoded as silence (LongCat Eq. 4), never as null audio.

    The noise floor under the sound is drawn from ``seed``: give each clip its own, or all silence sounds alike.
    """
    video = (clip.frames.float() / 127.5 - 1).transpose(0, 1)[None]
    chosen = torch.arange(0, video.shape[2], vae.temporal_factor)
    pictures = video[0, :, chosen].transpose(0, 1)[:, :, None]
    heard = round(video.shape[2] * hearing.rate / FPS)
    if len(clip.samples):
        features = hearing.encode(clip.samples, seed=seed).features[:heard]
    else:
        features = torch.zeros(heard, hearing.layers, hearing.channels)
    mouth = [clip.state.mouth_open, clip.state.mouth_width, clip.state.mouth_round, clip.state.teeth, clip.state.tongue]
    return EncodedClip(
        vae.encode(video)[0],
        vae.encode(pictures)[:, :, 0],
        chosen,
        features,
        torch.stack(mouth, dim=1),
        clip.caption,
        clip.silent,
    )


def save_encoded(clip: EncodedClip, path: Path) -> None:
    """Write an encoded clip, moved into place when whole."""
    fresh = path.with_suffix(".new")
    tensors = {
        "latents": clip.latents.half().contiguous(),
        "references": clip.references.half().contiguous(),
        "reference_frames": clip.reference_frames,
        "audio": clip.audio.half().contiguous(),
        "mouth": clip.mouth.half().contiguous(),
    }
    save_file(tensors, fresh, metadata={"caption": clip.caption, "silent": str(int(clip.silent))})
    fresh.rename(path)


def load_encoded(path: Path) -> EncodedClip:
    """Read what ``save_encoded`` wrote."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    frames = tensors.pop("reference_frames")
    floats = {key: value.float() for key, value in tensors.items()}
    return EncodedClip(**floats, reference_frames=frames, caption=metadata["caption"], silent=metadata["silent"] == "1")
