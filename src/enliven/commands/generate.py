"""``enliven generate`` and ``enliven resume``."""

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from enliven.commands.flags import (
    ALONE,
    AS_USUAL,
    NOTHING_MADE,
    OUTPUT,
    Inputs,
    Made,
    Opened,
    Published,
    Running,
    Sampling,
    arguments,
    values,
)
from enliven.errors import Cancelled, StorageError

if TYPE_CHECKING:
    from enliven.pipeline import AvatarPipeline
    from enliven.request import GenerateRequest
    from enliven.run import Record
    from enliven.runtime.choices import Choices
    from enliven.runtime.mesh import Parallel
    from enliven.systems.opening import Opening
    from enliven.types import OnProgress

RUNS = Path("runs")
UNSAID = (("prompt", ""), ("turns", "para"))  # values that need not be repeated in a command line


def generate(
    run_file: Path | None = None,
    /,
    *,
    inputs: Inputs | None = None,
    sampling: Sampling | None = None,
    opened: Opened = AS_USUAL,
    as_published: Published | None = None,
    made: Made = NOTHING_MADE,
    settings: Annotated[tuple[str, ...], Parameter("--set", group=OUTPUT, show_default=False)] = (),
) -> None:
    """Make a video from a portrait, speech and a prompt.

    Flags win over --set, and --set over the run file. A stopped run goes on with `enliven resume`.

    Args:
        run_file: A TOML file with any of the values below, as in examples/.
        settings: NAME=VALUE for anything a run file may hold, for example guidance.text=2.0.

    """
    given = values(as_published, inputs, sampling, opened)
    from enliven import config
    from enliven.commands import plan
    from enliven.commands.console import say, target
    from enliven.commands.progress import listener
    from enliven.commands.request import RunFile, gather, model_for
    from enliven.run import check, start
    from enliven.runtime.launch import leads
    from enliven.runtime.mesh import Parallel, leave

    shared, whole = Parallel.parse(opened.parallel), config.parse(RunFile, gather(run_file, given, settings))
    output = made.output
    path = target(output, ".mp4") if output else None
    check(whole.request(), path)
    if made.show_speakers:
        overlay = target(made.show_speakers, ".png")
        check(whole.request(), overlay)
        say(*plan.show_speakers(whole.request(), overlay))
        if not made.dry_run:
            return
    model = model_for(whole)
    with listener() as tell:
        if made.dry_run:
            told = plan.describe(find(model, whole.choices()), whole.request(), tell)
        else:
            pipeline = load(model, whole.choices(), tell, shared, whole.request())
            folder, began = made.run or free_folder(RUNS / (output.stem if output else "run")), time.perf_counter()
            with resumable(folder):
                video = start(pipeline, whole.request(), folder, path, tell)
    leave()
    if leads():
        say(*(told if made.dry_run else summary(video, folder, time.perf_counter() - began)))


def resume(folder: Path, /, *, running: Running = ALONE) -> None:
    """Go on with an interrupted run at its next clip; the video is the same as without the interruption.

    Without --memory it takes what it was started with; without --parallel one process works, however many began.

    Args:
        folder: The run folder.

    """
    from enliven.commands.console import say
    from enliven.commands.progress import listener
    from enliven.run import is_done, resume
    from enliven.runtime.launch import leads
    from enliven.runtime.mesh import Parallel, leave

    began, shared = time.perf_counter(), Parallel.parse(running.parallel)
    done = is_done(folder)
    with listener() as tell, resumable(folder):
        opened = partial(load, tell=tell, shared=shared)
        video = resume(folder, tell, opened, running.memory, writes=leads())
    leave()
    if leads():
        say(*summary(video, folder, None if done else time.perf_counter() - began))


def load(
    model: str | None,
    choices: "Choices",
    tell: "OnProgress",
    shared: "Parallel | None" = None,
    request: "GenerateRequest | None" = None,
) -> "AvatarPipeline":
    """``AvatarPipeline.load``, telling that the model is being loaded. Raises RequestError, WeightsError."""
    from enliven.models.networks import PARTS
    from enliven.pipeline import AvatarPipeline
    from enliven.runtime.allocator import give_back_large
    from enliven.systems import choose_model
    from enliven.types import Progress

    give_back_large()
    name = choose_model(model, choices.weights).name
    tell(Progress(f"loading {name}", 0, len(PARTS)))
    return AvatarPipeline.load(model, choices, parallel=shared, request=request, on_progress=tell)


def find(model: str | None, choices: "Choices") -> "Opening":
    """The same, but for the weights, which are not read. Raises RequestError, WeightsError."""
    from enliven.pipeline import chosen_device
    from enliven.systems.opening import open_model

    return open_model(model, choices.absolute(), chosen_device())


def free_folder(wanted: Path) -> Path:
    """``wanted``, or the same with a number behind it when that is there already."""
    folder, number = wanted, 1
    while folder.exists():
        number += 1
        folder = wanted.with_name(f"{wanted.name}-{number}")
    return folder


@contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Whatever stops the run from outside says how to go on. Raises Cancelled, StorageError."""
    from enliven.run import RECORD

    again = f"enliven resume {shlex.quote(str(folder))}"
    try:
        yield
    except KeyboardInterrupt:
        begun = (folder / RECORD).exists()
        raise Cancelled("stopped", hint=f"resume with: {again}" if begun else "nothing was made yet") from None
    except StorageError as error:
        if (folder / RECORD).exists():
            error.hint = f"{error.hint}; then resume with: {again}"
        raise


def summary(video: Path, folder: Path, seconds: float | None) -> list[str]:
    """What was made, what it took (None: it was there), and how to make it again."""
    from enliven.commands.progress import clock
    from enliven.run import read_record, read_result

    record, shares = read_record(folder), read_result(folder).shares
    made = record.resolved
    length = made["frames"] / made["fps"]
    size = f"{made['width']}x{made['height']}"
    return [
        f"video   {video}",
        f"length  {length:.2f} s, {made['frames']} frames of {size}, {made['fps']} a second, {made['clips']} clips",
        "took    nothing: it was done already"
        if seconds is None
        else f"took    {clock(seconds)}, {seconds / length:.2f} s for a second of video",
        *(
            f"{name:7} {mean(values):.1%} of what a clip hands to the next, at most {max(values):.1%}"
            for name, values in shares.items()
        ),
        f"model   {record.model}, {made['steps']} steps, seed {record.request.seed}",
        f"again   {command(record, video)}",
        f"run     {folder}: everything that was asked, used and made",
    ]


def command(record: "Record", video: Path) -> str:
    """The command line that makes the same video again."""
    request = record.request
    chosen = {field.name: getattr(request, field.name) for field in fields(request)}
    chosen = {name: value for name, value in chosen.items() if value is not None and (name, value) not in UNSAID}
    chosen["guidance"] = {name: value for name, value in asdict(request.guidance).items() if value is not None}
    chosen |= {"model": record.model, **record.choices.given}
    return shlex.join(["enliven", "generate", *arguments(chosen), "-o", str(video)])
