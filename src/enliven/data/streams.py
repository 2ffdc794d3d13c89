"""Endless streams of clips from folders of shards, which can be stopped and gone on with exactly."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from enliven.data.encoded import EncodedClip
from enliven.data.epochs import Epochs
from enliven.data.manifest import Manifest, read_manifest
from enliven.data.order import ALONE, Order, Process, drawn
from enliven.errors import ConfigError, MediaError

logger = logging.getLogger(__name__)

MOST_BAD_BATCHES = 100  # in a row, before the folder is given up


class ClipStream:
    """Batches of clips from several folders of shards, each as often as its share, in a shuffled order without end.

    A clip that cannot be read is told, counted in ``faults`` and replaced by another of its batch. Where a stream
    stands is a few numbers and the names of shards, its ``state``; ``restore`` them, and the very batches come that
    would have followed. Shards that came into a folder since join when its epoch ends.

    Several processes share the clips if all have the same ``manifests`` of the folders, which are read if they are not
    given. Another number of processes goes on from the states of all of them: what each had left of its epoch is dealt
    anew, and no clip of it is lost or comes twice, but for the few that fill the last batch of a kind, see
    ``Order.batches``. A batch counts once it is drawn; one that was not learnt from before the stop is not seen again.
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
            Epochs(folder, manifest, self.order, process) for (_, folder), manifest in zip(sources, found, strict=True)
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

    def _read(self, folder: Epochs, rows: Sequence[int]) -> list[tuple[str, EncodedClip]]:
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
        return {"step": self.step, "faults": self.faults, "places": places, "asked": self._asked(self.process)}

    def restore(self, *states: Mapping[str, Any]) -> None:
        """Go on from where all processes stood, in their order; there may have been more of them than now, or fewer.

        Raises ConfigError for states of streams of other data or shares, or not of every process. More data is no other
        data; clips that changed or are gone are.
        """
        pairs = [(self._asked(Process(rank, len(states))), state["asked"]) for rank, state in enumerate(states)]
        changed = sorted({name for now, then in pairs for name in now | then if now.get(name) != then.get(name)})
        places = list(zip(*(state["places"] for state in states), strict=False))  # of each folder, of all processes
        both = list(zip(self.folders, places, strict=False))
        if not changed and not all(folder.has(place) for folder, there in both for place in there):
            changed = ["data"]
        if changed:
            raise ConfigError(
                f"the data stream was another one when it was kept: other {', '.join(changed)}",
                hint="ask for what was asked for then, or start the data anew",
            )
        rank, count = self.process.rank, self.process.count
        self.step = states[rank]["step"] if len(states) == count else max(state["step"] for state in states)
        self.faults = sum(state["faults"] for state in states[rank::count])
        for folder, there in both:
            folder.restore(there)

    def _asked(self, process: Process) -> dict[str, Any]:
        """What decides over the batches, beside the data."""
        return {"order": asdict(self.order), "process": asdict(process), "shares": self.shares}
