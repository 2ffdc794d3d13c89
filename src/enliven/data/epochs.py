"""The endless row of epochs of a folder of shards, as one of several processes goes through it."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from enliven.data.manifest import Manifest
from enliven.data.order import ALONE, Indices, Order, Process
from enliven.data.shards import ShardReader
from enliven.errors import ConfigError

logger = logging.getLogger(__name__)

Place = Mapping[str, Any]  # where a process stands, ready for JSON
Runs = list[list[int]]  # of rising numbers: from which on, and how many without a gap


class Epochs:
    """The place of one process in the epochs of a folder; what is ``shown`` in an epoch are the clips it began with.

    Where another number of processes goes on, ``dealt`` are the rows of ``shown`` that this one has in the epoch and in
    those after it: what the processes before had left of every epoch that one of them had begun. Raises ConfigError
    for a folder without clips, and one with fewer than there are processes.
    """

    def __init__(self, folder: Path, manifest: Manifest, order: Order, process: Process = ALONE) -> None:
        self.manifest, self.reader = manifest, ShardReader(folder)
        if not len(self.manifest):
            raise ConfigError(f"there are no shards of clips in {folder}", hint="make some with enliven encode")
        self.folder, self.order, self.process = folder, order, process
        self._begin(self.manifest, 0)

    def _begin(self, shown: Manifest, epoch: int, batch: int = 0, dealt: Sequence[Indices] = ()) -> None:
        self.shown, self.epoch, self.batch, self.dealt = shown, epoch, batch, dealt
        self.begun_with: dict[str, Any] = {"clips": _fingerprint(shown), "shards": shown.shards()}
        if dealt:
            self.begun_with["dealt"] = [_runs(rows) for rows in dealt]
        self.batches = self._batches(shown, epoch, self.process, dealt)

    def next_batch(self) -> list[int]:
        """The rows of the next batch."""
        while self.batch == len(self.batches):  # of what is dealt there may be nothing for this process
            after = self.dealt[1:]
            self._begin(self.shown if after else self.manifest, self.epoch + 1, dealt=after)
        self.batch += 1
        return self.batches[self.batch - 1].tolist()

    def state(self) -> dict[str, Any]:
        """The place, and the clips that decide where it is."""
        return {"epoch": self.epoch, "batch": self.batch, **self.begun_with}

    def has(self, place: Place) -> bool:
        """Whether the clips of a place are here."""
        return _fingerprint(self.manifest.within(place["shards"])) == place["clips"]

    def restore(self, places: Sequence[Place]) -> None:
        """Go on from the places of all processes that there were, whose clips are here.

        As many processes go on each from its own place. Among another number the rest is dealt anew. What is more than
        those clips waits for the next epoch.
        """
        if len(places) == self.process.count:
            place = places[self.process.rank]
            self._begin(self.manifest.within(place["shards"]), place["epoch"], place["batch"], _dealt(place))
        else:
            self._deal(places)
        more = len(self.manifest) - len(self.shown)
        if more:
            logger.info("%s has %d clips more than before; they join at the next epoch", self.folder, more)

    def _deal(self, places: Sequence[Place]) -> None:
        """Begin with what is left of the earliest epoch that a process stood in; then comes that of the later ones."""
        shown = self.manifest.within({shard for place in places for shard in place["shards"]})
        first = min(place["epoch"] for place in places)
        last = max(place["epoch"] + max(0, len(_dealt(place)) - 1) for place in places)
        dealt = []
        for epoch in range(first, last + 1):
            parts = [self._left(shown, place, epoch, Process(rank, len(places))) for rank, place in enumerate(places)]
            left = np.unique(np.concatenate(parts))
            dealt.append(left[np.sort(self.order.shuffled(shown.take(left), epoch, self.process))])
        self._begin(shown, first, dealt=dealt)

    def _left(self, shown: Manifest, place: Place, epoch: int, process: Process) -> Indices:
        """The rows of ``shown`` that a process at ``place`` had still to give in an epoch."""
        rows = shown.rows(place["shards"])
        then = shown.take(rows) if len(rows) < len(shown) else shown
        ahead, dealt = epoch - place["epoch"], _dealt(place)
        if ahead < 0:
            return rows[:0]
        if ahead:
            return rows[dealt[ahead] if ahead < len(dealt) else self.order.shuffled(then, epoch, process)]
        batches = self._batches(then, epoch, process, dealt)
        return rows[np.setdiff1d(batches[place["batch"] :], batches[: place["batch"]])]

    def _batches(self, shown: Manifest, epoch: int, process: Process, dealt: Sequence[Indices]) -> Indices:
        """The rows of each batch of a process, in their order; (batches, size)."""
        if not dealt:
            return self.order.batches(shown, epoch, process)
        own = dealt[0]
        return own[self.order.batches(shown.take(own), epoch)] if len(own) else own.reshape(0, self.order.size)


def _dealt(place: Place) -> list[Indices]:
    return [_rows(runs) for runs in place.get("dealt", ())]


def _runs(rows: Indices) -> Runs:
    runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
    return [[int(run[0]), len(run)] for run in runs if len(run)]


def _rows(runs: Runs) -> Indices:
    return np.concatenate([np.zeros(0, np.int64), *(np.arange(start, start + count) for start, count in runs)])


def _fingerprint(manifest: Manifest) -> str:
    """A number that other clips, or the same in another order, would change."""
    return hashlib.sha256(manifest.column("checksum").tobytes()).hexdigest()[:16]
