"""``--dry-run``: what a run would make and what it would take, measured on a shortened first clip, or for a large model
on one block of its backbone.
"""

import resource
import time
from dataclasses import replace
from pathlib import Path
from textwrap import shorten

import torch

from enliven.commands.doctor import size
from enliven.commands.progress import clock
from enliven.encode import Encoded, lay_out, read_picture
from enliven.errors import RequestError
from enliven.media.overlay import draw_speakers
from enliven.media.storage import replacing
from enliven.people import place_people, speech_tracks
from enliven.pipeline import AvatarPipeline
from enliven.request import GenerateRequest
from enliven.runtime.memory import AUTOENCODER, BACKBONE, TEXT, Needs
from enliven.systems.execution import Execution
from enliven.systems.opening import Opening
from enliven.systems.spec import ModelSpec
from enliven.systems.trial import clips_seconds
from enliven.types import ClipPlan, OnProgress, Progress, ignore_progress

MOST_CLIPS = 12
MOST_LETTERS = 60  # of a prompt


def describe(opening: Opening, request: GenerateRequest, tell: OnProgress = ignore_progress) -> list[str]:
    """The plan of a request, line by line. A large model is not loaded for it. Raises RequestError, MediaError."""
    spec = request.apply(opening.spec)
    opening.check(spec)
    outline = lay_out(request, spec, read_picture(request), speech_tracks(request))
    frames, (height, width) = outline.plans[-1].emits.stop, outline.size
    fps, plans = spec.geometry.fps, outline.plans
    told = outline.prompts if request.timeline else ("",) * len(plans)
    if opening.needs is None:
        pipeline = AvatarPipeline.opened(opening, tell)
        seconds = estimate(pipeline, spec, pipeline.encode(request, spec), request.seed)
        took, held = f"about {clock(seconds)} on this machine", [taking(pipeline)]
    else:
        tell(Progress("trying a block", 0, 1))
        seconds = clips_seconds(replace(spec, size=outline.size), len(plans), opening.parts, opening.execution)
        tell(Progress("trying a block", 1, 1))
        took = f"about {clock(seconds)} on this machine, without decoding"
        held = placing(opening.execution, opening.needs)
    return [
        f"model   {spec.name}, {spec.steps} steps a clip, {spec.guidance}",
        f"video   {frames / fps:.2f} s, {frames} frames of {width}x{height}, {fps} a second",
        f"clips   {len(plans)}",
        *(line(plan, prompt) for plan, prompt in zip(plans[:MOST_CLIPS], told, strict=False)),
        *([f"  and {len(plans) - MOST_CLIPS} more"] if len(plans) > MOST_CLIPS else []),
        f"time    {took}",
        *held,
    ]


def taking(pipeline: AvatarPipeline) -> str:
    """What a model that was loaded whole takes, and in which numbers where they are not its own."""
    small = pipeline.execution.plan.quantise
    return f"memory  about {memory(pipeline):.1f} GiB" + ("" if small == "none" else f", the backbone in {small}")


def placing(execution: Execution, needs: Needs) -> list[str]:
    """What is where, and how much the device holds at most."""
    plan, device = execution.plan, execution.device
    blocks = f"block by block, from {'memory' if plan.held else 'its files'}"
    ways = {
        BACKBONE: blocks if plan.offload else "stays",
        TEXT: "block by block, from its files, and goes once it has read" if plan.release_text else "stays",
        AUTOENCODER: "stays, decodes latent by latent" if plan.stream_decoder else "stays, decodes clip by clip",
    }
    numbers = {BACKBONE: plan.dtype if plan.quantise == "none" else plan.quantise, TEXT: plan.dtype}
    return [
        f"memory  at most {size(plan.needed)} of {size(plan.room)} on {device}",
        *(
            f"  {name:<12}{part.parameters / 1e6:>7,.0f} M in {numbers.get(name, 'float32')}, {ways.get(name, 'stays')}"
            for name, part in needs.parts.items()
        ),
        *([] if plan.cache else ["  clean frames are computed anew in each step"]),
    ]


def show_speakers(request: GenerateRequest, path: Path) -> list[str]:
    """Draw into ``path`` who speaks where, and say it. Raises RequestError where nobody is seen or heard."""
    picture = read_picture(request)
    if picture is None or not request.audio:
        raise RequestError(
            f"there is {'no voice' if picture else 'no picture'}, so no speaker to show", hint="give both"
        )
    people = place_people(request, picture)
    with replacing(path) as part:
        draw_speakers(picture, people).save(part, format="PNG")
    return [
        f"speakers  {path}",
        *(
            f"  {number:<4}  {person.name} at {','.join(map(str, person.box))}"
            for number, person in enumerate(people, 1)
        ),
    ]


def line(plan: ClipPlan, prompt: str = "") -> str:
    """One clip of the plan, and the beginning of what it is told."""
    repeated = f", after {plan.context} repeated" if plan.context else ", after a cut" * plan.cut
    told = f": {shorten(prompt, MOST_LETTERS)}" if prompt else ""
    return f"  {plan.index:<4}  frames {plan.emits.start} to {plan.emits.stop - 1}{repeated}{told}"


def estimate(pipeline: AvatarPipeline, spec: ModelSpec, encoded: Encoded, seed: int) -> float:
    """Seconds that all clips would take, from the first one made with one step and with two."""

    def trial(steps: int) -> float:
        began = time.perf_counter()
        next(pipeline.clips(replace(spec, steps=steps), encoded, seed))
        return time.perf_counter() - began

    trial(1)  # the first run of a process is slower than all others
    one, two = trial(1), trial(2)
    step = max(two - one, 0.0)
    return len(encoded.plans) * (one + (len(spec.levels(continuing=True)) - 2) * step)


def memory(pipeline: AvatarPipeline) -> float:
    """The most memory held so far by this process or its GPU, in GiB; only sound and its features grow with length."""
    if pipeline.device.type == "cuda":
        return torch.cuda.max_memory_allocated(pipeline.device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
