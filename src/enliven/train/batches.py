"""From encoded clips to batches: cut clips out, say who is where, drop conditions."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from enliven.data.encoded import EncodedClip, Heads, load_encoded
from enliven.errors import ConfigError
from enliven.media.regions import Box, box_masks, speaker_regions
from enliven.media.speakers import person_boxes
from enliven.models.audio import Outside, SpeechFeatures
from enliven.train.cuts import Cutting
from enliven.train.processes import broadcast
from enliven.types import Conditioning, Text

LOOKING = 200  # batches until new clips are looked for
MISSED = 0.04  # of the height of a picture: how far found faces are off at most


@dataclass(frozen=True, slots=True)
class Drops:
    """How often a sample is not told something; at most one of the three holds. Guidance runs all of them.

    What is told instead of a caption is the ``null`` text.
    """

    audio: float = 0.05
    text: float = 0.05
    both: float = 0.08
    null: str = ""

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """For each of ``count`` samples whether it hears nothing, and whether it is told the null text."""
        chance = torch.rand(count)
        both = chance < self.both
        deaf = chance < self.both + self.audio
        mute = both | (~deaf & (chance < self.both + self.audio + self.text))
        return deaf, mute


@dataclass(frozen=True, slots=True)
class Listening:
    """Windows of ``window`` features around a video frame, ``stride`` features to each; see ``SpeechFeatures``."""

    window: int = 5
    stride: int = 1
    outside: Outside = "repeat"

    def heard(self, clip: EncodedClip, frames: range) -> Float[Tensor, "p f w layers c"]:
        """What each person of a clip sounds like in video ``frames``."""
        voices = [SpeechFeatures(each, self.stride, self.outside) for each in clip.audio]  # time in video frames
        return torch.stack([voice.windows(frames, self.window, self.stride) for voice in voices])


class ClipBatches:
    """An endless stream of batches from a folder of encoded clips, all of as many people, all kept in memory.

    Of several processes, all have the clips that the first finds.
    """

    def __init__(
        self,
        folder: Path,
        embed: Callable[[Sequence[str]], Text],
        cut: Cutting,
        *,
        batch: int = 8,
        listening: Listening | None = None,
        drops: Drops | None = None,
    ) -> None:
        self.folder, self.embed, self.cut, self.batch = folder, embed, cut, batch
        self.listening, self.drops = listening or Listening(), drops or Drops()
        self.clips: dict[str, EncodedClip] = {}
        self.texts: dict[str, Text] = {}
        self.look()

    def look(self) -> None:
        """Take in clips that have come since the last look."""
        for name in broadcast(lambda: sorted(path.name for path in self.folder.glob("*.safetensors"))):
            if name not in self.clips:
                self.clips[name] = load_encoded(self.folder / name)
        if not self.clips:
            raise ConfigError(f"no encoded clips in {self.folder}", hint="encode some first")
        for caption in {clip.caption for clip in self.clips.values()} | {self.drops.null}:
            if caption not in self.texts:
                self.texts[caption] = self.embed([caption])

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """Batches without end; new clips are looked for every so many."""
        return _endless(self)

    def make(self) -> Mapping[str, Any]:
        """One batch: ``clip`` with true latents, ``given`` clean latents as the backbone sees them, ``cond``.

        ``names`` are the files it comes from, ``heard`` the video frames in them.
        """
        every = sorted(self.clips)
        names = tuple(every[int(pick)] for pick in torch.randint(len(every), (self.batch,)))
        clips = [self.clips[name] for name in names]
        return make_batch(names, clips, self.texts, self.cut, self.listening, self.drops)


class MixedBatches:
    """An endless stream in which every batch is of one kind; each kind comes as often as its share says."""

    def __init__(self, kinds: Sequence[tuple[float, ClipBatches]]) -> None:
        shares = [share for share, _ in kinds]
        if min(shares) < 0 or not math.isclose(sum(shares), 1):
            raise ConfigError(f"the shares of batches are {shares}", hint="give shares of 0 or more that add up to 1")
        self.shares, self.kinds = torch.tensor(shares, dtype=torch.float32), [batches for _, batches in kinds]

    def look(self) -> None:
        """Take in clips of every kind."""
        for batches in self.kinds:
            batches.look()

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """Batches without end; new clips are looked for every so many."""
        return _endless(self)

    def make(self) -> Mapping[str, Any]:
        """One batch; the kind is drawn from torch's generator."""
        return self.kinds[int(torch.multinomial(self.shares, 1))].make()


def _endless(batches: ClipBatches | MixedBatches) -> Iterator[Mapping[str, Any]]:
    """Processes that learn together take equally many batches, and so look together, whatever kinds they draw."""
    for count in itertools.count(1):
        if count % LOOKING == 0:
            batches.look()
        yield batches.make()


def make_batch(
    names: Sequence[str],
    clips: Sequence[EncodedClip],
    texts: Mapping[str, Text],
    cut: Cutting,
    listening: Listening,
    drops: Drops,
) -> Mapping[str, Any]:
    """One batch of clips, see ``ClipBatches.make``; ``texts`` has every caption and the null one."""
    made = cut(clips)
    deaf, mute = drops.draw(len(clips))
    told = [any_order(clip) for clip in clips]
    audio = torch.stack([listening.heard(clip, made.heard) for clip in told])
    audio[deaf] = 0
    regions = [told_regions(clip.heads) for clip in told if clip.heads is not None]
    null = texts[drops.null]
    said = [null if drop else texts[clip.caption] for clip, drop in zip(clips, mute.tolist(), strict=True)]
    where = torch.stack(regions) if regions else None
    cond = Conditioning(_stack(said), _stack([null] * len(clips)), audio, where)
    return {"clip": made.clip, "given": made.given, "cond": cond, "names": tuple(names), "heard": made.heard}


def any_order(clip: EncodedClip) -> EncodedClip:
    """The same clip with its people in a random order, voices and heads alike: no label belongs to the left."""
    if clip.heads is None:
        return clip
    order = torch.randperm(len(clip.audio))
    heads = replace(clip.heads, boxes=clip.heads.boxes[order])
    return replace(clip, audio=clip.audio[order], mouth=clip.mouth[order], heads=heads)


def told_regions(heads: Heads) -> Bool[Tensor, "regions height width"]:
    """Who is where, as a request would be told: boxes of whole people as they are, heads as faces that were found.

    Those are a few pixels off, then grown.
    """
    height, width = heads.size
    off = 0 if heads.whole else round(MISSED * height)
    found = [Box(*each) for each in (heads.boxes + torch.randint(-off, off + 1, heads.boxes.shape)).tolist()]
    boxes = found if heads.whole else person_boxes(found, height, width)
    return speaker_regions(box_masks(boxes, height, width), height, width)[0]


def _stack(texts: Sequence[Text]) -> Text:
    masks = [text.mask for text in texts if text.mask is not None]
    return Text(torch.cat([text.tokens for text in texts]), torch.cat(masks) if masks else None)
