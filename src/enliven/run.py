"""A generation as a folder: what was asked, clip after finished clip, and what is needed to go on.

    run.json                    the request, what the model made of it, versions, hashes of the inputs
    clip_00000.mp4 ...          the frames of finished clips
    voice_....safetensors       what is listened to of a recording, where a voice is parted from music and noise
    handover_00000.safetensors  what the last finished clip hands to the next; a clip counts once this is there
    progress.jsonl              when which step was done, and what a clip had to tell
    result.json                 where the video is, at the end, and what was worth telling of each clip

Files appear whole or not at all. A run that was stopped at any moment goes on to the same bytes.
"""

import fcntl
import hashlib
import json
import logging
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from enliven import config
from enliven.encode import Encoded, Handover, check_readable
from enliven.errors import ConfigError, RequestError
from enliven.media.mux import join_segments
from enliven.media.provenance import made_with
from enliven.media.regions import bounding_box
from enliven.media.storage import check_target, replacing, storage_error
from enliven.media.video import encode_segment
from enliven.media.vocals import KeptVoices, heard_voice, located, weight_files
from enliven.models.networks import fingerprint
from enliven.people import soundtrack
from enliven.pipeline import AvatarPipeline
from enliven.request import GenerateRequest
from enliven.runtime.choices import AS_IT_IS, Choices
from enliven.runtime.memory import Memory
from enliven.types import OnProgress, Progress, ignore_progress

logger = logging.getLogger(__name__)

RECORD, RESULT, PROGRESS, VIDEO = "run.json", "result.json", "progress.jsonl", "video.mp4"
DECODER = "decoder."


@dataclass(frozen=True, slots=True)
class Record:
    """What ``run.json`` holds: enough to do it again, and to notice that something is no longer what it was."""

    model: str
    request: GenerateRequest
    output: Path
    inputs: Mapping[str, str]
    weights: str
    versions: Mapping[str, str]
    resolved: Mapping[str, Any]
    choices: Choices = AS_IT_IS


@dataclass(frozen=True, slots=True)
class Result:
    """What ``result.json`` holds; ``shares`` has a number in 0..1 for each handover, see ``Carried``."""

    output: Path
    seconds: float
    shares: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


def start(
    pipeline: AvatarPipeline,
    request: GenerateRequest,
    folder: Path,
    output: Path | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Path:
    """Make a video in a new run folder; ``output`` (``video.mp4`` in it, if None) is returned when it is done.

    Of several processes that share the work, all call this, and one writes. Raises RequestError when the folder holds
    a run already, and whatever ``check`` and making the video raise.
    """
    if not pipeline.execution.leads:
        return _accompany(pipeline, request, output or folder / VIDEO)
    if (folder / RECORD).exists():
        raise RequestError(f"{folder} holds a run already", hint="resume it, or choose another folder")
    request = absolute(request)
    check(request, output or folder / VIDEO)
    with _alone(folder):
        target = check_target(output or folder / VIDEO)
        KeptVoices(folder).forget()  # those of a run that was never begun
        encoded = _encode(pipeline, request, folder, on_progress)
        record = _record(pipeline, request, target, encoded)
        _write(folder / RECORD, asdict(record))
        return _work(pipeline, record, folder, encoded, on_progress)


def check(request: GenerateRequest, output: Path | None = None) -> None:
    """Refuse what cannot go well before a model is loaded: inputs that cannot be read, an output that replaces one.

    Raises RequestError, MediaError.
    """
    for path in _inputs(request):
        if output is not None and output.resolve() == path.resolve():
            raise RequestError(f"the output would replace {path}, from which it is made", hint="choose another output")
    check_readable(request)


def resume(
    folder: Path,
    on_progress: OnProgress = ignore_progress,
    load: Callable[..., AvatarPipeline] = AvatarPipeline.load,
    memory: Memory | None = None,
    *,
    writes: bool = True,
) -> Path:
    """Go on with a run that was stopped; the video is that of a run that was not.

    It runs in the numbers it was started in, also in other ``memory`` than was chosen then. Of several processes that
    share the work, all call this, and one ``writes``. Raises RequestError when there is no run in the folder, somebody
    works on it, or an input, the weights or what the model made of the request has changed since.
    """
    record = read_record(folder)
    if is_done(folder):
        return record.output
    choices = record.choices if memory is None else replace(record.choices, memory=memory)
    if not writes:
        return _accompany(load(record.model, choices), record.request, record.output, folder)
    with _alone(folder):
        check_inputs(record)
        _check_voices(record, folder)
        pipeline = load(record.model, choices)
        if fingerprint(pipeline.networks) != record.weights:
            raise RequestError(
                f"the weights of {record.model} are not those the run was started with", hint="start it anew"
            )
        if record.versions != _versions():
            logger.warning("started with %s, resumed with %s: the bytes may differ", record.versions, _versions())
        encoded = _encode(pipeline, record.request, folder, on_progress)
        _check_resolved(record, _resolved(pipeline, record.request, encoded))
        return _work(pipeline, record, folder, encoded, on_progress)


def is_done(folder: Path) -> bool:
    """Whether a run is done and its video is there. Raises RequestError where its record is damaged."""
    return (folder / RESULT).exists() and read_record(folder).output.exists()


def read_record(folder: Path) -> Record:
    """What was asked in a run folder. Raises RequestError when there is no run in it."""
    try:
        return config.parse(Record, json.loads((folder / RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, ConfigError) as error:
        why = "" if isinstance(error, FileNotFoundError) else f": {error}"
        raise RequestError(f"there is no run in {folder}{why}", hint=f"give a folder that holds a {RECORD}") from error


def read_result(folder: Path) -> Result:
    """What came of a run that is done. Raises RequestError where none is."""
    try:
        return config.parse(Result, json.loads((folder / RESULT).read_text(encoding="utf-8")))
    except (OSError, ValueError, ConfigError) as error:
        raise RequestError(f"no run is done in {folder}: {error}", hint="resume it first") from error


def _work(pipeline: AvatarPipeline, record: Record, folder: Path, encoded: Encoded, on_progress: OnProgress) -> Path:
    spec, request = record.request.apply(pipeline.spec), record.request
    after = _last_handover(folder, pipeline.device)
    pipeline.execution.meet()  # the others have seen what is there; from now on it changes
    fps = float(spec.geometry.fps)
    with _journal(folder / PROGRESS) as keep:

        def tell(progress: Progress) -> None:
            keep(asdict(progress))
            on_progress(progress)

        if after is None or after[0] + 1 < len(encoded.plans):
            for made in pipeline.clips(spec, encoded, request.seed, after=after, on_progress=tell):
                encode_segment([made.frames], fps, _segment(folder, made.plan.index))
                if made.shares:
                    keep({"clip": made.plan.index, "shares": dict(made.shares)})
                _save_handover(folder, made.plan.index, made.handover)
        segments = [_segment(folder, plan.index) for plan in encoded.plans]
        tell(Progress("joining clips and sound", 0, 1))
        join_segments(segments, record.output, fps=fps, sound=soundtrack(request), tags=made_with(record.model))
        tell(Progress("joining clips and sound", 1, 1))
    result = Result(record.output, encoded.plans[-1].emits.stop / fps, _shares(folder / PROGRESS))
    _write(folder / RESULT, asdict(result))
    for path in [*segments, *folder.glob("handover_*.safetensors")]:
        path.unlink()
    KeptVoices(folder).forget()
    return record.output


def _accompany(pipeline: AvatarPipeline, request: GenerateRequest, output: Path, begun: Path | None = None) -> Path:
    """Share in the work of the process that writes, from a run folder on that was ``begun``; the steps are the same."""
    spec = request.apply(pipeline.spec)
    fingerprint(pipeline.networks)  # shared weights are read together
    encoded = pipeline.encode(request, spec, heard_voice if begun is None else KeptVoices(begun))
    after = None if begun is None else _last_handover(begun, pipeline.device)
    pipeline.execution.meet()
    if after is None or after[0] + 1 < len(encoded.plans):
        for _ in pipeline.clips(spec, encoded, request.seed, after=after):
            pass
    return output


def _encode(pipeline: AvatarPipeline, request: GenerateRequest, folder: Path, on_progress: OnProgress) -> Encoded:
    on_progress(Progress("reading the inputs", 0, 1))
    encoded = pipeline.encode(request, request.apply(pipeline.spec), KeptVoices(folder))
    on_progress(Progress("reading the inputs", 1, 1))
    return encoded


def _record(pipeline: AvatarPipeline, request: GenerateRequest, output: Path, encoded: Encoded) -> Record:
    return Record(
        model=pipeline.spec.name,
        request=request,
        output=output,
        inputs={str(path): _hash(path) for path in _inputs(request)},
        weights=fingerprint(pipeline.networks),
        versions=_versions(),
        resolved=_resolved(pipeline, request, encoded),
        choices=pipeline.choices,
    )


def _resolved(pipeline: AvatarPipeline, request: GenerateRequest, encoded: Encoded) -> dict[str, Any]:
    """What the model makes of a request: everything that decides over the frames and may have a new default later."""
    spec = request.apply(pipeline.spec)
    people = () if encoded.regions is None else encoded.regions[0, :-1]
    return ({"people": [list(bounding_box(person)) for person in people]} if len(people) else {}) | {
        "frames": encoded.plans[-1].emits.stop,
        "clips": len(encoded.plans),
        "fps": spec.geometry.fps,
        "height": encoded.size[0],
        "width": encoded.size[1],
        "steps": spec.steps,
        "geometry": repr(spec.geometry),
        "guidance": repr(spec.guidance),
        "arrange": repr(spec.arrange),
        "carry": repr(spec.carry.resolved(pipeline.networks)),
        "solver": repr(spec.solver),
        "decoder": spec.decoder,
        "schedule": spec.schedule(spec.steps),
        "continuation_schedule": (spec.continuation_schedule or spec.schedule)(spec.steps),
        "negative_prompt": spec.negative_prompt,
    }


def _check_resolved(record: Record, now: Mapping[str, Any]) -> None:
    changed = [name for name in now if now[name] != record.resolved.get(name)]
    if changed:
        raise RequestError(
            f"{record.model} has changed since the run was started: other {', '.join(changed)}", hint="start it anew"
        )


def _inputs(request: GenerateRequest) -> list[Path]:
    pictures = (request.portrait, request.video, request.draft, *(scene.portrait for scene in request.timeline))
    paths = (*request.audio, *request.speakers, *pictures, *weight_files(request.vocals))
    return [path for path in paths if isinstance(path, Path)]


def absolute(request: GenerateRequest) -> GenerateRequest:
    """The same from any folder: what a record holds."""
    audio = tuple(path and path.resolve() for path in request.audio)
    speakers = tuple(place.resolve() if isinstance(place, Path) else place for place in request.speakers)
    portrait, video, draft = (path and path.resolve() for path in (request.portrait, request.video, request.draft))
    vocals = request.vocals and located(request.vocals, Path.cwd())
    timeline = tuple(replace(scene, portrait=scene.portrait and scene.portrait.resolve()) for scene in request.timeline)
    placed = replace(request, portrait=portrait, video=video, draft=draft)
    return replace(placed, audio=audio, speakers=speakers, vocals=vocals, timeline=timeline)


def check_inputs(record: Record) -> None:
    """Refuse a run whose inputs are no longer what they were. Raises RequestError."""
    for name, expected in record.inputs.items():
        path = Path(name)
        if not path.is_file():
            raise RequestError(f"{name} is no longer there", hint="put it back, or start the run anew")
        if _hash(path) != expected:
            raise RequestError(f"{name} has changed since the run was started", hint="put it back, or start anew")


def _check_voices(record: Record, folder: Path) -> None:
    """Refuse a run that would go on with another voice than it began with. Raises RequestError."""
    request, voices = record.request, KeptVoices(folder)
    if request.vocals and any(folder.glob("handover_*.safetensors")):
        for path in filter(None, request.audio):
            if not voices.place(path).exists():
                raise RequestError(f"the voice of {path.name} is no longer kept in {folder}", hint="start it anew")


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _versions() -> dict[str, str]:
    libraries = {name: version(name) for name in ("torch", "transformers", "av")}
    try:
        ours = version("enliven")
    except PackageNotFoundError:
        ours = "not installed"
    return {"enliven": ours, "python": platform.python_version(), **libraries}


def _segment(folder: Path, index: int) -> Path:
    return folder / f"clip_{index:05}.mp4"


def _save_handover(folder: Path, index: int, handover: Handover) -> None:
    """Write it, which makes the clip count; then the one before is needed no more."""
    state = {"reference": handover.reference, "context": handover.context}
    state |= {DECODER + name: value for name, value in handover.decoder.items()}
    with replacing(folder / f"handover_{index:05}.safetensors") as part:
        save_file({name: value.cpu().contiguous() for name, value in state.items()}, part)
    (folder / f"handover_{index - 1:05}.safetensors").unlink(missing_ok=True)


def _last_handover(folder: Path, device: torch.device) -> tuple[int, Handover] | None:
    paths = sorted(folder.glob("handover_*.safetensors"))
    if not paths:
        return None
    try:
        state = load_file(paths[-1], device=str(device))
    except (OSError, SafetensorError) as error:
        raise RequestError(f"{paths[-1]} is damaged: {error}", hint="start the run anew") from error
    decoder = {name.removeprefix(DECODER): value for name, value in state.items() if name.startswith(DECODER)}
    return int(paths[-1].stem.split("_")[1]), Handover(state["reference"], state["context"], decoder)


def _write(path: Path, values: Mapping[str, Any]) -> None:
    with replacing(path) as part:
        part.write_text(json.dumps(values, indent=1, default=str) + "\n", encoding="utf-8")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else works in the folder meanwhile; the lock goes with the process.

    The folder is made where it is missing, and goes again when no run was begun in it, so that its name stays free.
    """
    lock, new = folder / ".lock", not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    except OSError as error:
        raise storage_error(folder, error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RequestError(f"somebody works in {folder} already", hint="wait until it is done") from None
        try:
            yield
        finally:
            if new and not (folder / RECORD).exists():
                lock.unlink(missing_ok=True)
                KeptVoices(folder).forget()
                with suppress(OSError):
                    folder.rmdir()


@contextmanager
def _journal(path: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Keeps a line of everything it is given, with the time."""
    with path.open("a", encoding="utf-8") as file:

        def keep(values: Mapping[str, Any]) -> None:
            try:
                file.write(json.dumps({"time": round(time.time(), 3), **values}) + "\n")
                file.flush()
            except OSError as error:
                raise storage_error(path, error) from error

        yield keep


def _shares(journal: Path) -> dict[str, tuple[float, ...]]:
    """What the journal tells of each clip; of a clip that was made twice, the last that was told."""
    told: dict[int, Mapping[str, float]] = {}
    for line in journal.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):  # a line that a crash cut off
            values = json.loads(line)
            if "clip" in values:
                told[values["clip"]] = values["shares"]
    names = dict.fromkeys(name for shares in told.values() for name in shares)
    return {name: tuple(told[clip][name] for clip in sorted(told) if name in told[clip]) for name in names}
