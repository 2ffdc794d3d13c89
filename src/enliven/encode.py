"""From the files of a request to what every clip is told: text, speech, and the frames it starts from."""

import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor

from enliven.diffusion.clips import plan_shots
from enliven.diffusion.guidance import guided
from enliven.errors import ConfigError, MediaError, RequestError
from enliven.media.audio import SPEECH_RATE, audio_stream
from enliven.media.container import open_media
from enliven.media.draft import Draft
from enliven.media.image import fit_frames, fit_to, from_pixels, read_portrait, to_image
from enliven.media.video import read_first_frame, read_video
from enliven.media.vocals import Hear, heard_voice
from enliven.models.audio import SpeechFeatures
from enliven.models.feature_cache import FeatureCache
from enliven.models.networks import Networks
from enliven.models.vae import ToonAutoencoder
from enliven.people import people_regions, place_people, shows_drawing, speech_tracks
from enliven.request import GenerateRequest
from enliven.systems.spec import ModelSpec
from enliven.types import UNHEARD, ClipPlan, Conditioning, Text

logger = logging.getLogger(__name__)

ENLARGED = 1.5  # times, from which on a picture is visibly blurred
AFTERWARDS = 8  # video frames of silence encoded behind the last clip, so that its last windows are whole


@dataclass(frozen=True, slots=True)
class Handover:
    """What a clip needs from before: who is seen, the latents it goes on from, and the memory of the decoder.

    Without a memory, what the clip goes on from is decoded with it.
    """

    reference: Float[Tensor, "1 c 1 h w"]
    context: Float[Tensor, "1 c t h w"]
    decoder: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Voice:
    """Speech features of each person, at ``stride`` a video frame."""

    features: tuple[SpeechFeatures, ...]
    stride: int
    window: int

    def heard(self, plan: ClipPlan) -> Float[Tensor, "1 p f w layers c"]:
        """What a clip hears of each person."""
        windows = [each.windows(plan.hears, self.window, self.stride) for each in self.features]
        return torch.stack(windows)[None]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A request, ready to be sampled: the plan of its clips, the prompt of each, what they hear, where they start.

    Clips that begin another shot have its ``portraits``, by their index. ``regions`` say where each of several people
    is. A model that hears nothing has no ``voice``; a ``draft`` is for one that refines.
    """

    plans: tuple[ClipPlan, ...]
    size: tuple[int, int]
    prompts: tuple[str, ...]
    texts: Mapping[str, Text]
    null_text: Text
    voice: Voice | None
    opening: Handover | None
    portraits: Mapping[int, Float[Tensor, "1 c 1 h w"]] = field(default_factory=dict)
    regions: Bool[Tensor, "1 regions height width"] | None = None
    draft: Draft | None = None

    def told(self, plan: ClipPlan, device: torch.device) -> Conditioning:
        """The conditions of one clip, on the device of the backbone."""
        text = self.texts[self.prompts[plan.index]]
        regions = None if self.regions is None else self.regions.to(device)
        heard = torch.zeros(UNHEARD) if self.voice is None else self.voice.heard(plan)
        return Conditioning(text, self.null_text, heard.to(device), regions)


def check_readable(request: GenerateRequest) -> None:
    """Open every file of a request, without reading all of it.

    Raises MediaError for one that cannot be used, RequestError for speakers who are not in the picture.
    """
    for path in request.audio:
        if path is not None:
            with open_media(path) as container:
                audio_stream(container)
    picture = read_picture(request)
    for portrait in dict.fromkeys(scene.portrait for scene in request.timeline if scene.portrait):
        read_portrait(portrait)
    if request.portrait and request.video:
        read_first_frame(request.video)
    if request.speakers and picture is not None:
        place_people(request, picture)


def read_picture(request: GenerateRequest) -> Image.Image | None:
    """Who is seen: the portrait, or the first frame of the video. Raises MediaError."""
    if request.portrait:
        return read_portrait(request.portrait)
    video = request.video or request.draft
    return to_image(read_first_frame(video)) if video else None


@dataclass(frozen=True, slots=True)
class Outline:
    """What is known of a video before anything is encoded: its clips, its height and width, the prompt of each clip.

    And what it is refined from, if it is.
    """

    plans: tuple[ClipPlan, ...]
    size: tuple[int, int]
    prompts: tuple[str, ...]
    draft: Draft | None = None


def lay_out(
    request: GenerateRequest, spec: ModelSpec, picture: Image.Image | None, tracks: Sequence[Float[Tensor, "n"]]
) -> Outline:
    """Share a video out among clips. Raises RequestError, MediaError."""
    size = request.size(spec, picture)
    draft = None if request.draft is None else Draft.open(request.draft, spec.geometry.fps, size)
    seconds = len(tracks[0]) / SPEECH_RATE if request.seconds is None else request.seconds
    total = draft.count if draft else max(1, round(seconds * spec.geometry.fps))
    request.check_timeline(total / spec.geometry.fps)
    plans = plan_shots(
        total,
        _cuts(request, total, spec.geometry.fps),
        spec.geometry,
        spec.arrange,
        portrait=request.portrait is not None,
        continuing=request.video is not None,
    )
    return Outline(plans, size, _prompts(request, plans, spec), draft)


@torch.no_grad()
def encode(request: GenerateRequest, spec: ModelSpec, networks: Networks, hear: Hear = heard_voice) -> Encoded:
    """Read, ``hear`` and encode everything once. Raises RequestError, MediaError; WeightsError without a network."""
    spec.check(networks)
    picture = read_picture(request)
    tracks = speech_tracks(request, hear)
    outline = lay_out(request, spec, picture, tracks)
    if request.prompt and request.prompt not in outline.prompts:
        logger.warning(
            "no clip is told the prompt: the scene from %g seconds on fills the most of the first; "
            "start it later, or leave out the prompt",
            request.timeline[0].start,
        )
    if request.negative_prompt and not guided(spec.guidance):
        logger.warning("the negative prompt changes nothing: %s is not guided", spec.name)
    opening = _opening(request, picture, outline.size, spec, networks)
    return Encoded(
        plans=outline.plans,
        size=outline.size,
        prompts=outline.prompts,
        texts={prompt: networks.text([prompt]) for prompt in dict.fromkeys(outline.prompts)},
        null_text=networks.text([spec.negative_prompt]),
        voice=_listen(tracks, outline.plans[-1].hears.stop, spec, networks),
        opening=opening,
        portraits=_portraits(request, opening, outline, spec, networks),
        regions=people_regions(request, picture, outline.size),
        draft=outline.draft,
    )


def _cuts(request: GenerateRequest, total: int, fps: int) -> list[int]:
    """The frames with which other shots begin. Raises RequestError for a scene without a frame of its own."""
    cuts = list[int]()
    for scene in (scene for scene in request.timeline if scene.begins_shot):
        frame = round(scene.start * fps)
        if frame in (0, total, *cuts[-1:]):
            raise RequestError(
                f"the scene at {scene.start:g} seconds begins with a cut, and there is no frame before it or in it",
                hint=f"move it by {1 / fps:g} seconds or more",
            )
        cuts.append(frame)
    return cuts


def _prompts(request: GenerateRequest, plans: tuple[ClipPlan, ...], spec: ModelSpec) -> tuple[str, ...]:
    """For each clip the prompt of the scene that fills the most of what it adds, of two the first.

    Before the first scene, the prompt of the request holds. Raises RequestError for a scene that no clip would show.
    """
    fps, total = spec.geometry.fps, plans[-1].emits.stop
    starts = [0, *(round(scene.start * fps) for scene in request.timeline)]
    scenes = [range(start, stop) for start, stop in pairwise([*starts, total])]
    shown = [max(range(len(scenes)), key=lambda scene: _common(scenes[scene], plan.emits)) for plan in plans]
    for number, scene in enumerate(request.timeline, start=1):
        if number not in shown:
            raise RequestError(
                f"the scene at {scene.start:g} seconds is too short: it fills the most of no clip",
                hint=f"a clip of this model adds {(spec.geometry.frames - spec.geometry.context) / fps:g} seconds; "
                "shorter scenes begin with a cut, and end with one",
            )
    told = [request.prompt, *(scene.prompt for scene in request.timeline)]
    return tuple(told[scene] for scene in shown)


def _common(one: range, other: range) -> int:
    return min(one.stop, other.stop) - max(one.start, other.start)


def _listen(tracks: Sequence[Float[Tensor, "n"]], frames: int, spec: ModelSpec, networks: Networks) -> Voice | None:
    """Features of exactly the frames heard: what the speech leaves empty is silence, which is sound too (3.2)."""
    hearing = networks.backbone.params.audio
    if hearing is None or networks.audio is None:
        return None
    stride, rest = divmod(networks.audio.rate, spec.geometry.fps)
    if rest:
        raise ConfigError(
            f"{networks.audio.rate:g} audio features a second cannot be shared among {spec.geometry.fps} video frames",
            hint="use an audio encoder whose rate is a multiple of the frame rate",
        )
    wanted = math.ceil((frames + AFTERWARDS) / spec.geometry.fps * SPEECH_RATE)
    sounds = (torch.nn.functional.pad(track[:wanted], (0, wanted - len(track[:wanted]))) for track in tracks)
    cache = FeatureCache()
    features = tuple(cache.encode(networks.audio, sound) for sound in sounds)
    return Voice(features, int(stride), hearing.audio_window)


def _opening(
    request: GenerateRequest, picture: Image.Image | None, size: tuple[int, int], spec: ModelSpec, networks: Networks
) -> Handover | None:
    if picture is None or request.draft is not None:
        return None
    reference = _still(picture, size, spec, networks)
    if request.video is None:
        return begin_shot(reference, spec, networks)
    ending = from_pixels(fit_frames(_ending(request.video, spec), *size))
    before = networks.autoencoder.encode(ending.transpose(0, 1)[None].to(networks.device))
    context = before[:, :, -spec.geometry.latents(spec.geometry.context) :]
    memory = _decoded(before, spec, networks) if spec.carry.continuous else {}
    return Handover(reference, context, memory)


def _portraits(
    request: GenerateRequest, opening: Handover | None, outline: Outline, spec: ModelSpec, networks: Networks
) -> dict[int, Float[Tensor, "1 c 1 h w"]]:
    """With whom later shots begin, by the index of their first clip: with their own portrait, or as the video does."""
    latents: dict[Path | None, Tensor] = {None: opening.reference} if opening else {}
    for path in (scene.portrait for scene in request.timeline if scene.portrait):
        if path not in latents:
            latents[path] = _still(read_portrait(path), outline.size, spec, networks)
    cuts = [plan.index for plan in outline.plans if plan.cut]
    shots = [scene for scene in request.timeline if scene.begins_shot]
    return {index: latents[scene.portrait] for index, scene in zip(cuts, shots, strict=True)}


@torch.no_grad()
def begin_shot(reference: Float[Tensor, "1 c 1 h w"], spec: ModelSpec, networks: Networks) -> Handover:
    """What the first clip of a shot needs: a portrait that is still to be shown, or as a pivot was shown before it."""
    if not spec.geometry.pivot:
        return Handover(reference, reference)
    return Handover(reference, reference[:, :, :0], _decoded(reference, spec, networks))


def _still(
    picture: Image.Image, size: tuple[int, int], spec: ModelSpec, networks: Networks
) -> Float[Tensor, "1 c 1 h w"]:
    if isinstance(networks.autoencoder, ToonAutoencoder) and not shows_drawing(picture):
        logger.warning("no drawn face is in the picture: photographs are outside what %s has learnt", spec.name)
    if size[0] > ENLARGED * picture.height or size[1] > ENLARGED * picture.width:
        told = (picture.width, picture.height, size[1], size[0])
        logger.warning("a picture of %dx%d is enlarged to %dx%d: a larger one shows more", *told)
    return networks.autoencoder.encode(fit_to(picture, *size)[None, :, None].to(networks.device))


def _decoded(latents: Float[Tensor, "1 c t h w"], spec: ModelSpec, networks: Networks) -> dict[str, Tensor]:
    """What a decoder remembers of them."""
    decoder = networks.decoder(spec.decoder).stream()
    decoder.push(latents)
    return decoder.state()


def _ending(video: Path, spec: ModelSpec) -> UInt8[Tensor, "f 3 h w"]:
    """The frames of the context and, where latents go on as they are, those of one latent frame before.

    A clip in the middle of a video goes on from latents that each hold several frames, but the first latent of what
    is encoded holds a single one: it is not for the context. A video too short for that gives the context alone.
    """
    geometry = spec.geometry
    context = (geometry.latents(geometry.context) - 1) * geometry.stride + 1
    if spec.carry.continuous:
        with suppress(MediaError):
            return read_video(video, fps=geometry.fps, last_frames=context + geometry.stride).frames
    return read_video(video, fps=geometry.fps, last_frames=context).frames
