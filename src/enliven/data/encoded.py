"""Encoded clips: what the backbone trains on, made once by the frozen encoders."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int, UInt8
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from enliven.data.clips import FPS, ToonClip
from enliven.data.groups import GroupClip
from enliven.models.audio import AudioEncoder
from enliven.models.vae import VideoAutoencoder
from enliven.toonworld.state import FaceState


@dataclass(frozen=True, slots=True)
class Heads:
    """Where several people are: top, left, bottom and right of each head in a picture of ``size`` (height, width).

    Where they are ``whole``, boxes hold people as a request places them, not their heads alone.
    """

    boxes: Int[Tensor, "p 4"]
    size: tuple[int, int]
    whole: bool = False


@dataclass(frozen=True, slots=True)
class EncodedClip:
    """A clip as latents and features; ``references`` are single frames encoded as pictures, one for each latent frame.

    ``audio`` holds for each person a whole number ``a / f`` of features for each video frame; all zeros where there is
    no sound. ``heads`` are those of several people, in the order of their voices; one voice needs no place. ``before``
    are the latents of what the clip goes on from in each moment, where that is something else than itself.
    """

    latents: Float[Tensor, "c t h w"]
    references: Float[Tensor, "r c h w"]
    reference_frames: Int[Tensor, "r"]
    audio: Float[Tensor, "p a layers c_audio"]
    mouth: Float[Tensor, "p f 5"]
    caption: str
    silent: bool
    heads: Heads | None = None
    before: Float[Tensor, "c t h w"] | None = None


@torch.no_grad()
def encode_clip(
    clip: ToonClip | GroupClip, vae: VideoAutoencoder, hearing: AudioEncoder, *, seed: int = 0
) -> EncodedClip:
    """Encode a drawn clip; silence is encoded as silence (LongCat Eq. 4), never as null audio.

    The noise floor under the sound is drawn from ``seed``: give each clip its own, or all silence sounds alike. The
    voices of one clip have the same noise floor, as those of a request have.
    """
    video, before = _pixels(clip.frames), None
    pictured = video
    if isinstance(clip, ToonClip):
        pictured = video if clip.pictured is None else _pixels(clip.pictured)
        before = None if clip.before is None else vae.encode(_pixels(clip.before))[0]
    chosen = torch.arange(0, video.shape[2], vae.temporal_factor)
    pictures = pictured[0, :, chosen].transpose(0, 1)[:, :, None]
    heard = round(video.shape[2] * hearing.rate / FPS)
    if isinstance(clip, GroupClip):
        voices, states, silent = clip.voices, clip.states, not clip.voices.any()
        heads = Heads(clip.heads, (clip.frames.shape[2], clip.frames.shape[3]))
    else:
        voices, states, silent, heads = clip.samples[None], (clip.state,), clip.silent, None
    return EncodedClip(
        vae.encode(video)[0],
        vae.encode(pictures)[:, :, 0],
        chosen,
        torch.stack([_heard(voice, heard, hearing, seed) for voice in voices]),
        torch.stack([_mouth(state) for state in states]),
        clip.caption,
        bool(silent),
        heads,
        before,
    )


def save_encoded(clip: EncodedClip, path: Path) -> None:
    """Write an encoded clip, moved into place when whole."""
    fresh = path.with_suffix(".new")
    tensors, metadata = taken_apart(clip)
    save_file(tensors, fresh, metadata=metadata)
    fresh.rename(path)


def load_encoded(path: Path) -> EncodedClip:
    """Read what ``save_encoded`` wrote, also when it knew of one person only."""
    with safe_open(path, "pt") as file:
        return put_together({key: file.get_tensor(key) for key in file.keys()}, file.metadata())  # noqa: SIM118


def taken_apart(clip: EncodedClip) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and texts of a clip, as they are kept in a file."""
    tensors = {
        "latents": clip.latents.half().contiguous(),
        "references": clip.references.half().contiguous(),
        "reference_frames": clip.reference_frames,
        "audio": clip.audio.half().contiguous(),
        "mouth": clip.mouth.half().contiguous(),
    }
    if clip.before is not None:
        tensors["before"] = clip.before.half().contiguous()
    texts = {"caption": clip.caption, "silent": str(int(clip.silent))}
    if clip.heads is not None:
        tensors |= {"heads": clip.heads.boxes, "size": torch.tensor(clip.heads.size)}
        texts["whole"] = str(int(clip.heads.whole))
    return tensors, texts


def put_together(tensors: dict[str, Tensor], metadata: Mapping[str, str]) -> EncodedClip:
    """The inverse of ``taken_apart``."""
    for key, axes in (("audio", 4), ("mouth", 3)):
        if tensors[key].ndim < axes:  # written for one person, without an axis of people
            tensors[key] = tensors[key][None]
    heads = None
    if "heads" in tensors:
        height, width = tensors.pop("size").tolist()
        heads = Heads(tensors.pop("heads"), (height, width), whole=metadata.get("whole") == "1")
    frames = tensors.pop("reference_frames")
    floats = {key: value.float() for key, value in tensors.items()}
    return EncodedClip(
        **floats,
        reference_frames=frames,
        caption=metadata["caption"],
        silent=metadata["silent"] == "1",
        heads=heads,
    )


def _pixels(frames: UInt8[Tensor, "f 3 h w"]) -> Float[Tensor, "1 3 f h w"]:
    """Frames as an autoencoder takes them."""
    return (frames.float() / 127.5 - 1).transpose(0, 1)[None]


def _heard(
    samples: Float[Tensor, "n"], count: int, hearing: AudioEncoder, seed: int
) -> Float[Tensor, "a layers c_audio"]:
    """``count`` features of one voice; zeros where there is not even silence."""
    if not len(samples):
        return torch.zeros(count, hearing.layers, hearing.channels)
    return hearing.encode(samples, seed=seed).features[:count]


def _mouth(state: FaceState) -> Float[Tensor, "f 5"]:
    """The truth about a mouth."""
    return torch.stack([state.mouth_open, state.mouth_width, state.mouth_round, state.teeth, state.tongue], dim=1)
