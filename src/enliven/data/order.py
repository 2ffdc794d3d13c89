"""In which order clips are seen: shuffled, in batches that fit together, the same for the same numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from enliven.data.manifest import KIND, Manifest
from enliven.errors import ConfigError

Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Process:
    """Process ``rank`` of ``count``."""

    rank: int = 0
    count: int = 1


ALONE = Process()


@dataclass(frozen=True, slots=True)
class Order:
    """Batches of ``size`` clips that agree in kind.

    Shards come in a new order in every epoch, and clips are shuffled among ``window`` shards at a time: enough to mix
    them, few enough to stay open. Of several processes each has shards of its own, or, where there are fewer shards
    than processes, clips of its own.
    """

    size: int = 8
    seed: int = 0
    window: int = 32

    def __post_init__(self) -> None:
        if self.size < 1 or self.window < 1:
            raise ConfigError(f"batches of {self.size} clips out of {self.window} shards", hint="give 1 or more")

    def batches(self, manifest: Manifest, epoch: int, process: Process = ALONE) -> Indices:
        """The rows of each batch of an epoch, in their order; (batches, size).

        Every clip is seen once, and a few twice where those of a kind do not fill their last batch. Raises ConfigError
        where there is no clip for this process.
        """
        shuffled = self.shuffled(manifest, epoch, process)
        if not len(shuffled):
            raise ConfigError(
                f"{len(manifest)} clips are too few for {process.count} processes", hint="encode more, or start fewer"
            )
        kinds = manifest.groups(*KIND)[shuffled]
        found, last = [], []
        for kind in np.unique(kinds):
            places = np.flatnonzero(kinds == kind)
            filled = np.resize(places, -(-len(places) // self.size) * self.size).reshape(-1, self.size)
            found.append(shuffled[filled])
            last.append(filled.max(axis=1))
        every: Indices = np.concatenate(found)
        return every[np.argsort(np.concatenate(last), kind="stable")]

    def shuffled(self, manifest: Manifest, epoch: int, process: Process = ALONE) -> Indices:
        """All rows of a process in the order of an epoch."""
        random = np.random.default_rng([self.seed, epoch])
        shards = manifest.groups("shard")
        count = int(shards.max()) + 1 if len(shards) else 0
        turn = random.permutation(count)[shards] if count else shards  # in the how manieth place a row's shard comes
        order: Indices = np.lexsort((random.random(len(shards)), turn // self.window))
        if count >= process.count:
            return order[shards[order] % process.count == process.rank]
        return order[process.rank :: process.count]


def drawn(shares: Sequence[float], seed: int, step: int) -> int:
    """Which of several sources a step takes: each as often as its share, the same for the same numbers."""
    return int(np.random.default_rng([seed, step]).choice(len(shares), p=np.array(shares) / sum(shares)))
