"""From encoded clips to batches: cut clips out, drop conditions."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from enliven.data.encoded import EncodedClip, load_encoded
from enliven.errors import ConfigError
from enliven.models.audio import Outside, SpeechFeatures
from enliven.train.cuts import Cutting
from enliven.types import Conditioning, Text


@dataclass(frozen=True, slots=True)
class Drops:
    """How often a sample is not told something; at most one of the three holds. Guidance runs all of them."""

    audio: float = 0.05
    text: float = 0.05
    both: float = 0.08

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

    def heard(self, clip: EncodedClip, frames: range) -> Tensor:
        """What one person's clip sounds like in video ``frames`` ``[1 f w layers c]``."""
        features = SpeechFeatures(clip.audio, self.stride, self.outside)  # a video frame is the unit of time
        return features.windows(frames, self.window, self.stride)[None]


class ClipBatches:
    """An endless stream of batches from a folder of encoded clips, all kept in memory."""

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
        for path in sorted(self.folder.glob("*.safetensors")):
            if path.name not in self.clips:
                self.clips[path.name] = load_encoded(path)
        if not self.clips:
            raise ConfigError(f"no encoded clips in {self.folder}", hint="encode some first")
        for caption in {clip.caption for clip in self.clips.values()} | {""}:
            if caption not in self.texts:
                self.texts[caption] = self.embed([caption])

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        """Batches without end; new clips are looked for every 200 batches."""
        count = 0
        while True:
            count += 1
            if count % 200 == 0:
                self.look()
            yield self.make()

    def make(self) -> Mapping[str, Any]:
        """One batch: ``clip`` with true latents, ``given`` clean latents as the backbone sees them, ``cond``.

        ``names`` are the files it comes from, ``heard`` the video frames in them.
        """
        every = sorted(self.clips)
        names = tuple(every[int(pick)] for pick in torch.randint(len(every), (self.batch,)))
        clips = [self.clips[name] for name in names]
        cut = self.cut(clips)
        cond = self._conditioning(clips, cut.heard)
        return {"clip": cut.clip, "given": cut.given, "cond": cond, "names": names, "heard": cut.heard}

    def _conditioning(self, clips: Sequence[EncodedClip], heard: range) -> Conditioning:
        deaf, mute = self.drops.draw(len(clips))
        audio = torch.stack([self.listening.heard(clip, heard) for clip in clips])
        audio[deaf] = 0
        null = self.texts[""]
        texts = [null if drop else self.texts[clip.caption] for clip, drop in zip(clips, mute.tolist(), strict=True)]
        return Conditioning(_stack(texts), _stack([null] * len(clips)), audio)


def _stack(texts: Sequence[Text]) -> Text:
    masks = [text.mask for text in texts if text.mask is not None]
    return Text(torch.cat([text.tokens for text in texts]), torch.cat(masks) if masks else None)
