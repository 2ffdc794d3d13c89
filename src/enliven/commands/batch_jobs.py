"""The work of ``enliven batch``: what is still to be made of a list, and making it."""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from enliven import config
from enliven.commands.batch_list import Item
from enliven.commands.generate import load
from enliven.commands.progress import PlainLines, TerminalBar
from enliven.commands.request import RunFile, merge, model_for
from enliven.errors import EnlivenError, RequestError
from enliven.media.container import open_media
from enliven.media.voices import Turns
from enliven.pipeline import AvatarPipeline
from enliven.request import GenerateRequest
from enliven.run import RECORD, absolute, check, check_inputs, is_done, read_record, read_result, resume, start
from enliven.runtime.choices import Choices
from enliven.runtime.launch import from_first, leads
from enliven.runtime.mesh import Parallel
from enliven.systems import choose_model
from enliven.types import OnProgress, Progress

logger = logging.getLogger(__name__)

MAKING = "making the video"  # the stage of a run that takes the time
STAGE = "seconds of video"
MEMORY = "memory"  # what is done with little or much of it is the same
OPEN = {"dtype", "quantise", "attention", MEMORY}  # a run keeps what became of them where nothing was asked
GUESSED_SECONDS = 10.0  # of a sound that does not say how long it is; only the time left depends on it


class State(StrEnum):
    """What became, or would become, of an item."""

    NEW = "new"
    BEGUN = "half made"
    MADE = "made"
    THERE = "there already"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Job:
    """A video that can be made: what is asked of which model, and where it goes. ``seconds`` are about its length."""

    name: str
    request: GenerateRequest
    model: str
    choices: Choices
    folder: Path
    video: Path
    seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an item; ``said`` is its video, or why there is none. ``took`` and ``length`` are in seconds."""

    name: str
    state: State
    said: str
    took: float = 0.0
    length: float = 0.0


def prepare(
    items: Sequence[Item],
    folder: Path,
    told: tuple[Mapping[str, Any], Sequence[str]],
    outcomes: dict[str, Outcome],
    tell: OnProgress,
) -> list[Job]:
    """What is still to be made, the jobs of one model together; ``told`` are flags and settings for all items.

    ``outcomes`` gets what is known of each item already. Of processes that share the work, the first looks for all:
    what another would find a moment later may be something else.
    """
    jobs: list[Job] = []
    for number, item in enumerate(items):
        tell(Progress("reading the list", number, len(items)))
        found, outcomes[item.name] = from_first(partial(look, item, folder, *told))
        jobs += found
    tell(Progress("reading the list", len(items), len(items)))
    models = list(dict.fromkeys((job.model, job.choices) for job in jobs))
    return sorted(jobs, key=lambda job: models.index((job.model, job.choices)))


def look(
    item: Item, folder: Path, given: Mapping[str, Any], settings: Sequence[str]
) -> tuple[tuple[Job, ...], Outcome]:
    """The job of an item, if there is one to be done, and what is known of it."""
    outcomes: dict[str, Outcome] = {}
    with failing(item.name, outcomes):
        job = job_of(item, folder, given, settings)
        outcome = known(job)
        return () if outcome.state is State.THERE else (job,), outcome
    return (), outcomes[item.name]


def job_of(item: Item, folder: Path, given: Mapping[str, Any], settings: Sequence[str]) -> Job:
    """The job of an item. Raises what reading and checking a request raises."""
    whole = config.parse(RunFile, merge(item.written(), given, settings))
    request, choices = absolute(whole.request()), whole.choices().absolute()
    video = (folder / f"{item.name}.mp4").resolve()
    check(request, video)
    model = choose_model(model_for(whole), choices.weights).name
    return Job(item.name, request, model, choices, folder / item.name, video, about_seconds(request))


def known(job: Job) -> Outcome:
    """How far a job has come. Raises RequestError when its run was begun with anything else."""
    if not (job.folder / RECORD).exists():
        return Outcome(job.name, State.NEW, str(job.video))
    record = read_record(job.folder)
    pairs = {
        "request": (record.request, job.request),
        "model": ((record.model, said(record.choices, job.choices)), (job.model, said(job.choices, job.choices))),
        "place of the video": (record.output, job.video),
    }
    changed = [name for name, (before, now) in pairs.items() if before != now]
    if changed:
        raise RequestError(
            f"the run in {job.folder} was begun with another {' and '.join(changed)}",
            hint="remove that folder, or give the item another name",
        )
    check_inputs(record)
    if is_done(job.folder):
        return Outcome(job.name, State.THERE, str(job.video), length=read_result(job.folder).seconds)
    return Outcome(job.name, State.BEGUN, str(job.video))


def said(choices: Choices, by: Choices) -> dict[str, Any]:
    """Those ``choices`` that decide over the video; of the ``OPEN`` ones only what is asked for."""
    names = {field.name for field in fields(Choices)} - OPEN | by.given.keys()
    return {name: getattr(choices, name) for name in names - {MEMORY}}


def make_all(
    jobs: Sequence[Job],
    outcomes: dict[str, Outcome],
    listener: TerminalBar | PlainLines,
    shared: Parallel = Parallel(),  # noqa: B008 - it never changes
) -> None:
    """Make one video after another. Raises KeyboardInterrupt; what else happens is an outcome.

    Of processes that share the work, one that fails would leave the others waiting in the middle of a video, and so
    whatever happens to one of them is raised.
    """
    load, whole = Loader(listener, shared), Whole(jobs, listener)
    for job in jobs:
        with failing(job.name, outcomes) if shared.processes == 1 else nullcontext():
            try:
                outcomes[job.name] = make(job, load, whole.part(job))
            except KeyboardInterrupt:
                with failing(job.name, outcomes):  # else its fault would take the place of the stop
                    outcomes[job.name] = known(job)
                raise
        whole.add(job)
        listener.note(f"{job.name}: {outcomes[job.name].state}, {outcomes[job.name].said}")


def make(job: Job, load: "Loader", tell: OnProgress) -> Outcome:
    """Make a video, from the beginning or from where it was stopped; another process may have made it meanwhile.

    Of processes that share the work, all do what the first finds: the others may look when it has begun already.
    """
    before, began = from_first(partial(known, job)), time.perf_counter()
    if before.state is State.THERE:
        return before
    if before.state is State.BEGUN:
        resume(job.folder, tell, load, job.choices.given.get(MEMORY), writes=leads())
    else:
        start(load(job.model, job.choices), job.request, job.folder, job.video, tell)
    took, length = time.perf_counter() - began, read_result(job.folder).seconds if leads() else job.seconds
    return Outcome(job.name, State.MADE, str(job.video), took, length)


class Loader:
    """Loads a model unless it is the one that is loaded; what could not be loaded is not tried again."""

    def __init__(self, tell: OnProgress, shared: Parallel = Parallel()) -> None:  # noqa: B008 - it never changes
        self.tell, self.shared = tell, shared
        self.chosen: object = None
        self.loaded: AvatarPipeline | EnlivenError | None = None

    def __call__(self, model: str, choices: Choices) -> AvatarPipeline:
        """The model. Raises what loading it raises."""
        if self.chosen != (model, choices):
            self.chosen, self.loaded = (model, choices), None  # the old one goes before the new one comes
            try:
                self.loaded = load(model, choices, self.tell, self.shared)
            except EnlivenError as error:
                self.loaded = error
        if isinstance(self.loaded, EnlivenError):
            raise self.loaded
        assert self.loaded is not None, "it was loaded or refused above"
        return self.loaded


class Whole:
    """How far all jobs together have come, in seconds of video."""

    def __init__(self, jobs: Iterable[Job], tell: OnProgress) -> None:
        self.total, self.done, self.tell = sum(job.seconds for job in jobs), 0.0, tell

    def part(self, job: Job) -> OnProgress:
        """A listener for the run of one job."""

        def on_progress(progress: Progress) -> None:
            if progress.stage == MAKING:
                self._say(self.done + progress.fraction * job.seconds)

        return on_progress

    def add(self, job: Job) -> None:
        """One job is over."""
        self.done += job.seconds
        self._say(self.done)

    def _say(self, done: float) -> None:
        self.tell(Progress(STAGE, round(done), max(1, round(self.total))))


@contextmanager
def failing(name: str, outcomes: dict[str, Outcome]) -> Iterator[None]:
    """What is raised becomes an outcome; a bug keeps its traceback, in the log."""
    try:
        yield
    except EnlivenError as error:
        outcomes[name] = Outcome(name, State.FAILED, f"{error} ({error.hint})" if error.hint else str(error))
    except Exception as error:
        logger.exception("%s failed", name)
        outcomes[name] = Outcome(name, State.FAILED, f"{type(error).__name__}: {error}")


def about_seconds(request: GenerateRequest) -> float:
    """How long a video will about be, from what its sound files or its draft say of themselves."""
    if request.seconds is not None:
        return request.seconds
    lengths = [0.0]
    for path in filter(None, (*request.audio, request.draft)):
        with open_media(path) as container:
            lengths.append(container.duration / 1e6 if container.duration else GUESSED_SECONDS)
    return max(lengths) if request.turns is Turns.TOGETHER else sum(lengths)
