"""Portrait, speech and prompt to a video of any length. Written once: what a paper adds is in its ``ModelSpec``."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from enliven.encode import Encoded, Handover, begin_shot, encode
from enliven.media.audio import read_audio
from enliven.media.vocals import Hear, heard_voice
from enliven.models.networks import Networks
from enliven.people import soundtrack
from enliven.request import GenerateRequest, Scales
from enliven.runtime.choices import AS_IT_IS, Choices
from enliven.runtime.mesh import Parallel, join
from enliven.systems.carry import Carried
from enliven.systems.execution import Execution
from enliven.systems.opening import Opening, open_model
from enliven.systems.spec import ModelSpec
from enliven.types import ClipPlan, Conditioning, LatentClip, OnProgress, Progress, Video, ignore_progress

__all__ = ["AvatarPipeline", "FinishedClip", "GenerateRequest", "Scales"]


@dataclass(frozen=True, slots=True)
class FinishedClip:
    """The video frames that a clip adds, all its latents, what the next clip needs, and what that has to tell."""

    plan: ClipPlan
    frames: UInt8[Tensor, "f 3 h w"]
    clip: LatentClip
    handover: Handover
    shares: Mapping[str, float]


class AvatarPipeline:
    """A model, ready to make videos; ``choices`` tell how it was loaded, and ``execution`` how it runs."""

    def __init__(
        self,
        spec: ModelSpec,
        networks: Networks,
        choices: Choices = AS_IT_IS,
        execution: Execution = Execution(),  # noqa: B008 - it never changes
    ) -> None:
        self.spec, self.networks, self.choices, self.execution = spec, networks, choices, execution
        self.device = networks.device

    @classmethod
    def load(
        cls,
        model: str | None = None,
        choices: Choices = AS_IT_IS,
        *,
        device: str = "auto",
        parallel: Parallel | None = None,
        request: GenerateRequest | None = None,
        on_progress: OnProgress = ignore_progress,
    ) -> "AvatarPipeline":
        """A model by name, or the one that a folder of ``choices.weights`` is for; without either, the default.

        It runs on a GPU where there is one, in the memory that there is; the plan is in ``execution``. With
        ``parallel``, as many processes as it says share the work: ``torchrun`` starts them, all of them load the
        model and then call it alike, and each has the whole video. A large model that lacks something for the
        ``request`` is refused before its weights are read. Raises RequestError, also for a model that does not fit,
        ConfigError, WeightsError, MissingExtra.
        """
        mesh = None if parallel is None else join(parallel, device)
        place = chosen_device(device) if mesh is None else str(mesh.device)
        opening = open_model(model, choices.absolute(), place, mesh)
        if request is not None:
            opening.check(request.apply(opening.spec))
        return cls.opened(opening, on_progress)

    @classmethod
    def opened(cls, opening: Opening, on_progress: OnProgress = ignore_progress) -> "AvatarPipeline":
        """A model that was found and planned for, loaded. Raises WeightsError."""
        return cls(opening.spec, opening.load(on_progress), opening.choices, opening.execution)

    def varied(self, spec: ModelSpec) -> "AvatarPipeline":
        """The same model with other strategies, loaded and run as it is."""
        return type(self)(spec, self.networks, self.choices, self.execution)

    def generate(self, request: GenerateRequest, on_progress: OnProgress = ignore_progress) -> Video:
        """The whole video, with the sound of the request, in memory. Raises RequestError, MediaError."""
        frames = torch.cat([video.frames for video in self.stream(request, on_progress)])
        sound = soundtrack(request)
        heard = read_audio(sound) if isinstance(sound, Path) else sound
        return Video(frames, float(self.spec.geometry.fps), heard)

    def stream(self, request: GenerateRequest, on_progress: OnProgress = ignore_progress) -> Iterator[Video]:
        """The video clip by clip, without sound, as it is made. Raises RequestError, MediaError."""
        spec = request.apply(self.spec)
        for clip in self.clips(spec, self.encode(request, spec), request.seed, on_progress=on_progress):
            yield Video(clip.frames, float(spec.geometry.fps))

    def encode(self, request: GenerateRequest, spec: ModelSpec, hear: Hear = heard_voice) -> Encoded:
        """Everything the clips are told."""
        return encode(request, spec, self.networks, hear)

    def clips(
        self,
        spec: ModelSpec,
        encoded: Encoded,
        seed: int,
        *,
        after: tuple[int, Handover] | None = None,
        on_progress: OnProgress = ignore_progress,
    ) -> Iterator[FinishedClip]:
        """Make clip after clip; ``after`` an earlier one, named by index, going on from what it handed over.

        The noise of a clip depends on ``seed`` and its index alone, so going on gives the very same video.
        ``on_progress`` hears of every denoising step and may raise to stop.
        """
        levels = {plan.index: spec.levels(continuing=plan.context > 0) for plan in encoded.plans}
        total = sum(len(sigmas) - 1 for sigmas in levels.values())
        first, handover = (0, encoded.opening) if after is None else (after[0] + 1, after[1])
        done = sum(len(levels[index]) - 1 for index in range(first))
        for plan in encoded.plans[first:]:
            sigmas = levels[plan.index]
            if plan.cut:
                handover = begin_shot(encoded.portraits[plan.index], spec, self.networks)

            def on_step(step: int, before: int = done) -> None:
                on_progress(Progress("making the video", before + step, total))

            latents = self._assemble(plan, encoded, handover, seed, sigmas[0])
            clip = self.sample(spec, encoded.told(plan, self.device), plan, latents, seed, on_step)
            done += len(sigmas) - 1
            goes_on = plan is not encoded.plans[-1] and not encoded.plans[plan.index + 1].cut
            finished = self._finish(spec, plan, clip, handover, goes_on=goes_on)
            handover = finished.handover
            yield finished

    @torch.no_grad()
    def _assemble(
        self, plan: ClipPlan, encoded: Encoded, handover: Handover | None, seed: int, sigma: float
    ) -> Float[Tensor, "1 c t h w"]:
        """Clean frames first, noise after; what is refined shines through it, as far as ``sigma`` lets it."""
        layout, autoencoder = plan.layout, self.networks.autoencoder
        height, width = (side // autoencoder.spatial_factor for side in encoded.size)
        shape = (1, autoencoder.channels, len(layout) - layout.clean, height, width)
        noise = clip_noise(seed, plan.index, shape).to(self.device)
        if encoded.draft is not None:
            draft = autoencoder.encode(encoded.draft.frames(plan.hears)[None].to(self.device))
            noise = (1 - sigma) * draft[:, :, layout.clean :] + sigma * noise
        if handover is None or not layout.clean:
            return noise
        return torch.cat([*[handover.reference] * layout.references, handover.context, noise], dim=2)

    @torch.no_grad()
    def sample(
        self,
        spec: ModelSpec,
        told: Conditioning,
        plan: ClipPlan,
        latents: Float[Tensor, "1 c t h w"],
        seed: int,
        on_step: Callable[[int], None],
    ) -> LatentClip:
        """One clip: noise becomes latents, behind the clean frames in ``latents``, guided as ``spec`` says.

        The solver sees nothing of the clean frames, which so stay as they are.
        """
        layout = plan.layout
        cache, guide = self.execution.cache(layout), self.execution.guide(spec.guidance)
        given, noisy = latents[:, :, : layout.clean].float(), latents[:, :, layout.clean :].float()
        levels = torch.zeros(1, len(layout), device=self.device)

        def velocity(noisy: Tensor, sigma: float) -> Tensor:
            levels[:, layout.clean :] = sigma
            whole = torch.cat([given, noisy], dim=2)
            backbone = self.networks.backbone
            guided = guide(lambda cond: backbone(whole, levels.clone(), cond, layout, cache), told)
            return guided[:, :, layout.clean :].float()

        def fresh(step: int) -> Tensor:
            return clip_noise(seed, plan.index, noisy.shape, step).to(self.device)

        made = spec.solver(velocity, noisy, spec.levels(continuing=plan.context > 0), fresh, on_step)
        return LatentClip(torch.cat([given, made], dim=2), layout)

    @torch.no_grad()
    def _finish(
        self, spec: ModelSpec, plan: ClipPlan, clip: LatentClip, before: Handover | None, *, goes_on: bool
    ) -> FinishedClip:
        """Decode, and hand over if it ``goes_on``: the last clip of a shot gives no context, and has nothing to tell.

        Where latents go on as they are, so does the decoder: nothing is decoded twice.
        """
        warm = before is not None and bool(before.decoder)
        decoder = self.networks.decoder(spec.decoder).stream(before.decoder if before is not None else None)
        shown = clip.latents[:, :, clip.layout.clean if warm else clip.layout.references :]
        frames = self.execution.decode(decoder, shown)[plan.context - plan.frames :]
        count = spec.geometry.latents(spec.geometry.context)
        carried = spec.carry(clip, frames, count, self.networks) if goes_on else Carried(clip.last(0))
        reference = clip.latents[:, :, :1] if before is None else before.reference
        memory = decoder.state() if spec.carry.continuous else {}
        handover = Handover(reference, carried.context, memory)
        return FinishedClip(plan, frames[: len(plan.emits)], clip, handover, carried.shares)


def chosen_device(device: str = "auto") -> str:
    """The device of that name; ``auto`` is a GPU where there is one."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def clip_noise(seed: int, index: int, shape: tuple[int, ...], step: int = 0) -> Float[Tensor, "b c t h w"]:
    """The noise of one clip, before a step: the same for the same numbers, unrelated for all others."""
    name = f"{seed} {index} {step}" if step else f"{seed} {index}"
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
    return torch.randn(shape, generator=torch.Generator().manual_seed(number))
