"""Filling a folder with shards of clips from many materials: what was done is kept, what is bad is told."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from enliven.data.encoded import EncodedClip
from enliven.data.manifest import read_manifest
from enliven.data.order import ALONE, Process
from enliven.data.shards import SHARD_BYTES, ShardWriter
from enliven.errors import EnlivenError, StorageError
from enliven.media.storage import storage_error
from enliven.types import OnProgress, Progress, ignore_progress

logger = logging.getLogger(__name__)

JOURNAL = "gathered_{rank:03}.jsonl"
STAGE = "encoding"


@dataclass(frozen=True, slots=True)
class Material:
    """Something that clips are made of, known by its name.

    ``make`` gives clips, each with the video frame it starts from, and passes over those it is told of. Where there are
    none at all, it raises and says why. Another ``digest`` than it was done with says that it was changed since.
    """

    name: str
    make: Callable[[frozenset[int]], Iterator[tuple[int, EncodedClip]]]
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """A material that gave all its clips, as the journal has it."""

    name: str
    clips: int
    digest: str = ""


@dataclass(slots=True)
class Gathered:
    """How many ``clips`` were made, how many materials were done before, and what is wrong with the bad ones.

    Those ``changed`` since they were done keep the clips they gave.
    """

    clips: int = 0
    before: int = 0
    changed: list[str] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)


def gather(
    folder: Path,
    materials: Sequence[Material],
    on_progress: OnProgress = ignore_progress,
    process: Process = ALONE,
    shard_bytes: int = SHARD_BYTES,
) -> Gathered:
    """Make the clips of all ``materials`` that are not in ``folder`` yet; of several processes each takes its share.

    A bad material is counted and never stops the others; it is tried again the next time. Stopped at any moment, what
    is in finished shards stays. Raises StorageError when the disk refuses.
    """
    made, finished = read_manifest(folder).starts(), _finished(folder)
    own, found = materials[process.rank :: process.count], Gathered()
    with ShardWriter(folder, process.rank, shard_bytes) as writer:
        for number, material in enumerate(own):
            on_progress(Progress(STAGE, number, len(own)))
            starts = made.get(material.name, frozenset())
            done = finished.get(material.name)
            if starts and done and done.clips == len(starts):
                found.before += 1
                if done.digest and done.digest != material.digest:
                    found.changed.append(material.name)
                    logger.warning("%s was changed since it was encoded; its clips stay as they were", material.name)
                continue
            count = len(starts)
            try:
                for start, clip in material.make(starts):
                    writer.add(clip, material.name, start)
                    count += 1
                    found.clips += 1
            except StorageError:
                raise
            except Exception as error:  # whatever a file can do to a library
                found.faults[material.name] = _told(error)
                logger.warning("%s: %s", material.name, found.faults[material.name])
                continue
            _note(folder / JOURNAL.format(rank=process.rank), Done(material.name, count, material.digest))
        on_progress(Progress(STAGE, len(own), len(own)))
    return found


def _finished(folder: Path) -> dict[str, Done]:
    """What is known of each material that was finished; it counts if all its clips are in shards."""
    found: dict[str, Done] = {}
    for path in folder.glob("gathered_*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError, TypeError):  # a line that a crash cut off
                done = Done(**json.loads(line))
                found[done.name] = done
    return found


def _told(error: Exception) -> str:
    """What is wrong, in a line, and what to do about it."""
    reason = str(error).split("\n")[0] or type(error).__name__
    return f"{reason}; {error.hint}" if isinstance(error, EnlivenError) and error.hint else reason


def _note(path: Path, done: Done) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(done)) + "\n")
    except OSError as error:
        raise storage_error(path, error) from error
