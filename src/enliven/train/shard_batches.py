"""Batches out of shards: as those of ``ClipBatches``, but nothing stays in memory, and a stop changes nothing."""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from enliven.data.streams import ClipStream
from enliven.train.batches import Drops, Listening, make_batch
from enliven.train.cuts import Cutting
from enliven.types import Text

MOST_TEXTS = 4096


class ShardBatches:
    """An endless stream of batches from shards.

    What is drawn for a batch (cuts, drops) depends on the seed of the stream, the process and the step alone: a stream
    that goes on from a kept ``state`` gives the very same tensors, and the generator of torch stays where it was.
    In another number of processes other chances are drawn, none of them twice.
    """

    def __init__(
        self,
        stream: ClipStream,
        embed: Callable[[Sequence[str]], Text],
        cut: Cutting,
        *,
        listening: Listening | None = None,
        drops: Drops | None = None,
        kept: int | None = None,
    ) -> None:
        """So many encoded captions are ``kept`` in memory, ``MOST_TEXTS`` unless told."""
        self.stream, self.embed, self.cut = stream, embed, cut
        self.listening, self.drops = listening or Listening(), drops or Drops()
        self.kept = kept
        self.texts: OrderedDict[str, Text] = OrderedDict()

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """Batches without end."""
        while True:
            yield self.make()

    def make(self) -> Mapping[str, Any]:
        """The next batch, see ``ClipBatches.make``. Raises MediaError when nothing can be read any more."""
        names, clips = next(self.stream)
        captions = dict.fromkeys((self.drops.null, *(clip.caption for clip in clips)))
        texts = {caption: self._text(caption) for caption in captions}
        order, process = self.stream.order, self.stream.process
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(hash((order.seed, process.rank, self.stream.step)) % 2**63)
            return make_batch(names, clips, texts, self.cut, self.listening, self.drops)

    def state(self) -> dict[str, Any]:
        """Where the stream stands, ready for JSON."""
        return self.stream.state()

    def restore(self, *states: Mapping[str, Any]) -> None:
        """Go on from where all processes stood. Raises ConfigError, see ``ClipStream.restore``."""
        self.stream.restore(*states)

    def _text(self, caption: str) -> Text:
        """An encoded caption; those of late are kept."""
        if caption not in self.texts:
            self.texts[caption] = self.embed([caption])
            if len(self.texts) > (self.kept or MOST_TEXTS):
                self.texts.popitem(last=False)
        self.texts.move_to_end(caption)
        return self.texts[caption]
