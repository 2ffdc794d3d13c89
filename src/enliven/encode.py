"""From the files of a request to what every clip is told: text, speech, and the frames it starts from."""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from enliven.diffusion.clips import plan_clips
from enliven.errors import ConfigError, MediaError
from enliven.media.audio import SPEECH_RATE, audio_stream, mono_16k
from enliven.media.container import open_media
from enliven.media.image import fit_frames, fit_to, from_pixels, read_portrait, to_image
from enliven.media.video import read_first_frame, read_video
from enliven.models.audio import SpeechFeatures
from enliven.models.networks import Networks
from enliven.request import GenerateRequest
from enliven.systems.spec import ModelSpec
from enliven.types import ClipPlan, Conditioning, Text

AFTERWARDS = 8  # video frames of silence encoded behind the last clip, so that its last windows are whole


@dataclass(frozen=True, slots=True)
class Handover:
    """What a clip needs from before: who is seen, the latents it goes on from, and the memory of the decoder."""

    reference: Float[Tensor, "1 c 1 h w"]
    context: Float[Tensor, "1 c t h w"]
    decoder: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Voice:
    """Speech features at ``stride`` a video frame."""

    features: SpeechFeatures
    stride: int
    window: int

    def heard(self, plan: ClipPlan) -> Float[Tensor, "1 1 f w layers c"]:
        """What a clip hears."""
        return self.features.windows(plan.hears, self.window, self.stride)[None, None]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A request, ready to be sampled: the plan of its clips, what they are told and where they start."""

    plans: tuple[ClipPlan, ...]
    size: tuple[int, int]
    text: Text
    null_text: Text
    voice: Voice
    opening: Handover | None

    def told(self, plan: ClipPlan, device: torch.device) -> Conditioning:
        """The conditions of one clip, on the device of the backbone."""
        return Conditioning(self.text, self.null_text, self.voice.heard(plan).to(device))


def check_readable(request: GenerateRequest) -> None:
    """Open every file of a request, without reading all of it. Raises MediaError for one that cannot be used."""
    for path in request.audio:
        with open_media(path) as container:
            audio_stream(container)
    if request.portrait:
        read_portrait(request.portrait)
    if request.video:
        read_first_frame(request.video)


@torch.no_grad()
def encode(request: GenerateRequest, spec: ModelSpec, networks: Networks) -> Encoded:
    """Read and encode everything once. Raises RequestError, MediaError."""
    portrait = read_portrait(request.portrait) if request.portrait else None
    picture = portrait or (to_image(read_first_frame(request.video)) if request.video else None)
    size = request.size(spec, picture)
    samples = mono_16k(request.audio[0]) if request.audio else torch.zeros(0)
    seconds = len(samples) / SPEECH_RATE if request.seconds is None else request.seconds
    plans = plan_clips(
        max(1, round(seconds * spec.geometry.fps)),
        spec.geometry,
        spec.arrange,
        portrait=portrait is not None,
        continuing=request.video is not None,
    )
    return Encoded(
        plans=plans,
        size=size,
        text=networks.text([request.prompt]),
        null_text=networks.text([spec.negative_prompt]),
        voice=_listen(samples, plans[-1].hears.stop, spec, networks),
        opening=_opening(request, picture, size, spec, networks),
    )


def _listen(samples: Float[Tensor, "n"], frames: int, spec: ModelSpec, networks: Networks) -> Voice:
    """Features of exactly the frames heard: what the speech leaves empty is silence, which is sound too (3.2)."""
    stride, rest = divmod(networks.audio.rate, spec.geometry.fps)
    hearing = networks.backbone.params.audio
    if rest or hearing is None:
        raise ConfigError(
            f"{networks.audio.rate:g} audio features a second cannot be shared among {spec.geometry.fps} video frames",
            hint="use an audio encoder whose rate is a multiple of the frame rate",
        )
    wanted = math.ceil((frames + AFTERWARDS) / spec.geometry.fps * SPEECH_RATE)
    cut = samples[:wanted]
    sound = torch.nn.functional.pad(cut, (0, wanted - len(cut)))
    return Voice(networks.audio.encode(sound), int(stride), hearing.audio_window)


def _opening(
    request: GenerateRequest, picture: Image.Image | None, size: tuple[int, int], spec: ModelSpec, networks: Networks
) -> Handover | None:
    if picture is None:
        return None
    autoencoder = networks.autoencoder
    device = next(networks.backbone.parameters()).device
    reference = autoencoder.encode(fit_to(picture, *size)[None, :, None].to(device))
    if request.video is None:
        return Handover(reference, reference)
    last = autoencoder.encode(
        from_pixels(fit_frames(_ending(request.video, spec), *size)).transpose(0, 1)[None].to(device)
    )
    decoder = autoencoder.stream()
    decoder.push(last)
    context = last[:, :, -spec.geometry.latents(spec.geometry.context) :]
    return Handover(reference, context, decoder.state())


def _ending(video: Path, spec: ModelSpec) -> UInt8[Tensor, "f 3 h w"]:
    """The frames of the context and, where latents go on as they are, those of one latent frame before.

    A clip in the middle of a video goes on from latents that each hold several frames, but the first latent of what
    is encoded holds a single one: it is not for the context. A video too short for that gives the context alone.
    """
    geometry = spec.geometry
    if spec.carry.continuous:
        with suppress(MediaError):
            return read_video(video, fps=geometry.fps, last_frames=geometry.context + geometry.stride).frames
    return read_video(video, fps=geometry.fps, last_frames=geometry.context).frames
