"""Several folders of shards as one stream of batches: each with the sizes it was made in, each as often as its share.

A batch is of one folder, so folders may differ in frame rate: how many features a frame hears is read from the shards,
and the audio window, a fixed number of features, spans less time where they come closer (LongCat-Video-Avatar, 3.1).
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from enliven.data.encoded import EncodedClip
from enliven.data.manifest import Manifest, read_manifest
from enliven.data.order import ALONE, Order, Process, drawn
from enliven.data.streams import ClipStream
from enliven.errors import ConfigError
from enliven.models.audio import AudioEncoder
from enliven.systems.spec import ModelSpec, adjusted
from enliven.train.backbones import cuts, listening
from enliven.train.batches import Drops
from enliven.train.cuts import Cutting, PivotCuts, StitchedCuts
from enliven.train.processes import broadcast
from enliven.train.shard_batches import ShardBatches
from enliven.types import Text

log = logging.getLogger(__name__)

KEPT_TEXTS = 64  # in memory: of a large text encoder each has 4 MiB or more


@dataclass(frozen=True, slots=True)
class Source:
    """A folder of shards, as ``enliven encode`` makes them, and how often it is drawn from, compared to the others.

    Clips are told what their captions say. So failures, captioned with the negative prompt, and general video, which
    has no sound, are sources with a share like any other.
    """

    shards: Path
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Telling:
    """What backbones are told of clips: how they are cut (``cutting`` changes numbers of ``cuts``), what is dropped."""

    cutting: Mapping[str, int | float] = field(default_factory=dict)
    drops: Drops = field(default_factory=Drops)


class ShardMix:
    """An endless stream of batches, each of one source; the source follows from the seed and the step alone.

    Several processes take the same source in the same step, so that none waits long for the others.
    """

    def __init__(self, kinds: Sequence[tuple[float, ShardBatches]], seed: int = 0) -> None:
        self.shares = [share for share, _ in kinds]
        if not kinds or min(self.shares) < 0 or not sum(self.shares) > 0:
            raise ConfigError(f"the shares of sources are {self.shares}", hint="give each source a share above 0")
        self.kinds, self.seed, self.step = [batches for _, batches in kinds], seed, 0

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """Batches without end."""
        while True:
            yield self.make()

    def make(self) -> Mapping[str, Any]:
        """The next batch, see ``ClipBatches.make``. Raises MediaError when nothing can be read any more."""
        batches = self.kinds[drawn(self.shares, self.seed, self.step)]
        self.step += 1
        return batches.make()

    def state(self) -> dict[str, Any]:
        """Where all sources stand, ready for JSON."""
        asked = {"shares": self.shares, "seed": self.seed}
        return {"step": self.step, "asked": asked, "sources": [batches.state() for batches in self.kinds]}

    def restore(self, *states: Mapping[str, Any]) -> None:
        """Go on from where all processes stood. Raises ConfigError for other sources, see ``ClipStream.restore``."""
        if any(state.get("asked") != {"shares": self.shares, "seed": self.seed} for state in states):
            raise ConfigError(
                "the sources were others, or had other shares, when the run was saved",
                hint="ask for what was asked for then, or begin in another folder",
            )
        for batches, *each in zip(self.kinds, *(state["sources"] for state in states), strict=True):
            batches.restore(*each)
        self.step = states[0]["step"]  # the same in all


def read_sources(sources: Sequence[Source]) -> list[tuple[Source, Manifest]]:
    """Each source with what lies in it; of several processes, all have what the first finds: more may come meanwhile.

    Raises as ``read_manifest``.
    """
    return [(source, broadcast(partial(read_manifest, source.shards))) for source in sources]


def captions_of(sources: Sequence[tuple[Source, Manifest]], drops: Drops) -> set[str]:
    """Every caption that a clip has, and what is told instead of one."""
    return {drops.null}.union(*(manifest.table.column("caption").to_pylist() for _, manifest in sources))


def open_sources(
    sources: Sequence[tuple[Source, Manifest]],
    spec: ModelSpec,
    ears: AudioEncoder,
    embed: Callable[[Sequence[str]], Text],
    telling: Telling,
    order: Order,
    process: Process = ALONE,
) -> ShardMix:
    """Batches for a model, whose sizes those in ``spec`` are, from shards that fit it.

    Raises ConfigError for shards of another model, clips that are too short, and more voices than the model hears.
    """
    kinds = []
    for number, (source, manifest) in enumerate(sources):
        own = replace(order, seed=order.seed + number)  # other chances than in the other sources
        stream = ClipStream([(1.0, source.shards)], own, process, [manifest])
        reader = stream.folders[0].reader
        people = int(manifest.column("people").max())
        cut = _cut(spec, telling, people)
        heard = replace(listening(spec, ears), stride=features_per_frame(manifest, source.shards))
        _check_lengths(manifest, cut, source.shards)
        check_clip(reader.read(manifest.row(0)), people, spec, source.shards)
        log.info("%s: %d clips, %d audio features a frame", source.shards, len(manifest), heard.stride)
        batches = ShardBatches(stream, embed, cut, listening=heard, drops=telling.drops, kept=KEPT_TEXTS)
        kinds.append((source.share, batches))
    return ShardMix(kinds, order.seed)


def features_per_frame(manifest: Manifest, folder: Path) -> int:
    """How many audio features there are for a video frame: 2 in LongCat at 16 frames a second, 1 at 25.

    Raises ConfigError where it is not the same for all clips.
    """
    frames = 4 * manifest.column("latents") - 3
    found = sorted(set((manifest.column("features") / frames).tolist()))
    if len(found) != 1 or found[0] != int(found[0]) or not found[0]:
        raise ConfigError(
            f"{folder} has {', '.join(f'{each:g}' for each in found)} audio features for a video frame",
            hint="give clips of one frame rate a folder of their own",
        )
    return int(found[0])


def _cut(spec: ModelSpec, telling: Telling, people: int) -> Cutting:
    cut = adjusted(cuts(spec), telling.cutting)
    return cut.shown() if people > 1 and isinstance(cut, StitchedCuts) else cut


def _check_lengths(manifest: Manifest, cut: Cutting, folder: Path) -> None:
    assert isinstance(cut, StitchedCuts | PivotCuts)
    shortest = int(manifest.column("latents").min())
    if shortest < cut.needed:
        raise ConfigError(
            f"a clip in {folder} has {shortest} latent frames; this model learns from {cut.needed}",
            hint=f"encode again with --frames {4 * cut.needed - 3} or longer",
        )


def check_clip(clip: EncodedClip, people: int, spec: ModelSpec, folder: Path) -> None:
    """Refuse a clip of ``folder``, where at most so many ``people`` speak, that was encoded for another model.

    Raises ConfigError.
    """
    params, audio = spec.params.backbone, spec.params.backbone.audio
    assert audio is not None
    wanted = (params.in_channels, audio.audio_block, audio.audio_channel)
    given = (clip.latents.shape[0], clip.audio.shape[2], clip.audio.shape[3])
    if wanted != given:
        raise ConfigError(
            f"{folder} has latents of {given[0]} channels and {given[1]} audio features of {given[2]} numbers, "
            f"{spec.name} takes {wanted[0]}, {wanted[1]} and {wanted[2]}",
            hint=f"encode the videos again with --model {spec.name}",
        )
    if people > (spec.voices or people):
        raise ConfigError(f"in {folder} {people} people speak; {spec.name} hears one", hint="leave this source out")
