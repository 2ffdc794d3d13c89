"""``--dry-run``: what a run would make and what it would take, measured on a shortened first clip."""

import resource
import time
from dataclasses import replace
from pathlib import Path
from textwrap import shorten

import torch

from enliven.commands.progress import clock
from enliven.encode import Encoded, read_picture
from enliven.errors import RequestError
from enliven.media.overlay import draw_speakers
from enliven.media.storage import replacing
from enliven.people import place_people
from enliven.pipeline import AvatarPipeline
from enliven.request import GenerateRequest
from enliven.systems.spec import ModelSpec
from enliven.types import ClipPlan

MOST_CLIPS = 12
MOST_LETTERS = 60  # of a prompt


def describe(pipeline: AvatarPipeline, request: GenerateRequest) -> list[str]:
    """The plan of a request, line by line. Raises RequestError, MediaError."""
    spec = request.apply(pipeline.spec)
    encoded = pipeline.encode(request, spec)
    frames, (height, width) = encoded.plans[-1].emits.stop, encoded.size
    fps, plans = spec.geometry.fps, encoded.plans
    told = encoded.prompts if request.timeline else ("",) * len(plans)
    seconds = estimate(pipeline, spec, encoded, request.seed)
    return [
        f"model   {spec.name}, {spec.steps} steps a clip, {spec.guidance}",
        f"video   {frames / fps:.2f} s, {frames} frames of {width}x{height}, {fps} a second",
        f"clips   {len(plans)}",
        *(line(plan, prompt) for plan, prompt in zip(plans[:MOST_CLIPS], told, strict=False)),
        *([f"  and {len(plans) - MOST_CLIPS} more"] if len(plans) > MOST_CLIPS else []),
        f"time    about {clock(seconds)} on this machine",
        f"memory  about {memory(pipeline):.1f} GiB",
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
    repeated = f", after {plan.context} repeated" if plan.context else ""
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
    return len(encoded.plans) * (one + (spec.steps - 1) * step)


def memory(pipeline: AvatarPipeline) -> float:
    """The most memory held so far by this process or its GPU, in GiB; only sound and its features grow with length."""
    if pipeline.device.type == "cuda":
        return torch.cuda.max_memory_allocated(pipeline.device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
