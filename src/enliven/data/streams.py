"""Endless streams of clips from folders of shards, which can be stopped and gone on with exactly."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from enliven.data.encoded import EncodedClip
from enliven.data.manifest import Manifest, read_manifest
from enliven.data.order import ALONE, Indices, Order, Process, drawn
from enliven.data.shards import ShardReader
from enliven.errors import ConfigError, MediaError

logger = logging.getLogger(__name__)

MOST_BAD_BATCHES = 100  # in a row, before the folder is given up


class ClipStream:
    """Batches of clips from several folders of shards, each as often as its share, in a shuffled order without end.

    A clip that cannot be read is told, counted in ``faults`` and replaced by another of its batch. Where a stream
    stands is a few numbers and the names of shards, its ``state``; ``restore`` them, and the very batches come that
    would have followed. Shards that came into a folder since join when its epoch ends. Several processes share the
    clips if all have the same ``manifests`` of the folders, which are read if they are not given.
    """

    def __init__(
        self,
        sources: Sequence[tuple[float, Path]],
        order: Order | None = None,
        process: Process = ALONE,
        manifests: Sequence[Manifest] | None = None,
    ) -> None:
        self.order, self.process = order or Order(), process
        self.shares = [part for part, _ in sources]
        if not sources or min(self.shares) < 0 or not sum(self.shares) > 0:
            raise ConfigError(f"the shares of sources are {self.shares}", hint="give each folder a share above 0")
        found = manifests or [read_manifest(folder) for _, folder in sources]
        self.folders = [
            _Folder(folder, manifest, self.order, process) for (_, folder), manifest in zip(sources, found, strict=True)
        ]
        self.step, self.faults = 0, 0

    def __iter__(self) -> "ClipStream":
        return self

    def __next__(self) -> tuple[tuple[str, ...], list[EncodedClip]]:
        """The keys of a batch of clips, and the clips. Raises MediaError when nothing can be read any more."""
        for _ in range(MOST_BAD_BATCHES):
            folder = self.folders[drawn(self.shares, self.order.seed, self.step)]
            self.step += 1
            found = self._read(folder, folder.next_batch())
            if found:
                return tuple(key for key, _ in found), [clip for _, clip in found]
        raise MediaError(f"{MOST_BAD_BATCHES} batches in a row cannot be read", hint="look at the disk; see the log")

    def _read(self, folder: "_Folder", rows: Sequence[int]) -> list[tuple[str, EncodedClip]]:
        """The clips of a batch, bad ones replaced by good ones; empty where all are bad."""
        found: list[tuple[str, EncodedClip] | None] = []
        for index in rows:
            row = folder.shown.row(index)
            try:
                found.append((row.key, folder.reader.read(row)))
            except MediaError as error:
                self.faults += 1
                logger.warning("left out: %s", error)
                found.append(None)
        good = [each for each in found if each]
        return [each or good[place % len(good)] for place, each in enumerate(found)] if good else []

    def state(self) -> dict[str, Any]:
        """Where the stream stands, ready for JSON."""
        places = [folder.state() for folder in self.folders]
        return {"step": self.step, "faults": self.faults, "places": places, "asked": self._asked()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there. Raises ConfigError for the state of a stream of other data, shares or processes.

        More data is no other data; clips that changed or are gone are.
        """
        now = self._asked()
        changed = [name for name in now | state["asked"] if now.get(name) != state["asked"].get(name)]
        both = list(zip(self.folders, state["places"], strict=False))
        if not changed and not all(folder.has(place) for folder, place in both):
            changed = ["data"]
        if changed:
            raise ConfigError(
                f"the data stream was another one when it was kept: other {', '.join(changed)}",
                hint="ask for what was asked for then, or start the data anew",
            )
        self.step, self.faults = state["step"], state["faults"]
        for folder, place in both:
            folder.restore(place)

    def _asked(self) -> dict[str, Any]:
        """What decides over the batches, beside the data."""
        return {"order": asdict(self.order), "process": asdict(self.process), "shares": self.shares}


class _Folder:
    """A place in the endless row of epochs of one folder; what is ``shown`` in an epoch are the clips it began with."""

    def __init__(self, folder: Path, manifest: Manifest, order: Order, process: Process) -> None:
        self.manifest, self.reader = manifest, ShardReader(folder)
        if not len(self.manifest):
            raise ConfigError(f"there are no shards of clips in {folder}", hint="make some with enliven encode")
        self.folder, self.order, self.process = folder, order, process
        self._begin(self.manifest, 0)

    def _begin(self, shown: Manifest, epoch: int, batch: int = 0) -> None:
        self.shown, self.epoch, self.batch = shown, epoch, batch
        self.begun_with = {"clips": _fingerprint(shown), "shards": shown.shards()}
        self.batches: Indices = self.order.batches(shown, epoch, self.process)

    def next_batch(self) -> list[int]:
        """The rows of the next batch."""
        if self.batch == len(self.batches):
            self._begin(self.manifest, self.epoch + 1)
        self.batch += 1
        return self.batches[self.batch - 1].tolist()

    def state(self) -> dict[str, Any]:
        """The place, and the clips that decide where it is."""
        return {"epoch": self.epoch, "batch": self.batch, **self.begun_with}

    def has(self, place: Mapping[str, Any]) -> bool:
        """Whether the clips of a place are here."""
        return _fingerprint(self.manifest.within(place["shards"])) == place["clips"]

    def restore(self, place: Mapping[str, Any]) -> None:
        """Go to a place whose clips are here; what is more than those waits for the next epoch."""
        shown = self.manifest.within(place["shards"])
        more = len(self.manifest) - len(shown)
        if more:
            logger.info("%s has %d clips more than before; they join at the next epoch", self.folder, more)
        self._begin(shown, place["epoch"], place["batch"])


def _fingerprint(manifest: Manifest) -> str:
    """A number that other clips, or the same in another order, would change."""
    return hashlib.sha256(manifest.column("checksum").tobytes()).hexdigest()[:16]
