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
    none at all, it raises and says why. Another ``digest`` than before says that it was changed since; without one
    nothing is known of that.
    """

    name: str
    make: Callable[[frozenset[int]], Iterator[tuple[int, EncodedClip]]]
    digest: Callable[[], str] = str


@dataclass(frozen=True, slots=True)
class Note:
    """A line of the journal: a material was begun, or has given all its ``clips``."""

    name: str
    clips: int | None
    digest: str = ""


@dataclass(slots=True)
class Gathered:
    """How many ``clips`` were made, how many materials were done before, and what is wrong with the bad ones.

    Those ``changed`` since keep the clips they gave before.
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
    made, journal = read_manifest(folder).starts(), folder / JOURNAL.format(rank=process.rank)
    own, found, notes = materials[process.rank :: process.count], Gathered(), _notes(folder)
    with ShardWriter(folder, process.rank, shard_bytes) as writer:
        for number, material in enumerate(own):
            on_progress(Progress(STAGE, number, len(own)))
            starts, known = made.get(material.name, frozenset()), notes.get(material.name, [])
            count = len(starts)
            finished = bool(starts) and any(note.clips == count for note in known)
            try:
                digest = material.digest()
                if starts and _changed(known, digest):
                    found.changed.append(material.name)
                    logger.warning("%s was changed since; the clips that it gave stay as they were", material.name)
                if finished:
                    found.before += 1
                    continue
                if digest:
                    _write(journal, Note(material.name, None, digest))
                for start, clip in material.make(starts):
                    writer.add(clip, material.name, start)
                    count += 1
                    found.clips += 1
            except StorageError:
                raise
            except Exception as error:  # whatever a file can do to a library
                if finished:  # its clips are here, whatever became of it
                    found.before += 1
                    continue
                found.faults[material.name] = _told(error)
                logger.warning("%s: %s", material.name, found.faults[material.name])
                continue
            _write(journal, Note(material.name, count, digest))
        on_progress(Progress(STAGE, len(own), len(own)))
    return found


def _notes(folder: Path) -> dict[str, list[Note]]:
    """What is known of each material. It was finished where as many clips are in shards as it says."""
    found: dict[str, list[Note]] = {}
    for path in folder.glob("gathered_*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError, TypeError):  # a line that a crash cut off
                note = Note(**json.loads(line))
                found.setdefault(note.name, []).append(note)
    return found


def _changed(known: Sequence[Note], digest: str) -> bool:
    before = {note.digest for note in known} - {""}
    return bool(before) and digest not in before


def _told(error: Exception) -> str:
    """What is wrong, in a line, and what to do about it."""
    reason = str(error).split("\n")[0] or type(error).__name__
    return f"{reason}; {error.hint}" if isinstance(error, EnlivenError) and error.hint else reason


def _write(path: Path, note: Note) -> None:
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(note)) + "\n")
    except OSError as error:
        raise storage_error(path, error) from error
