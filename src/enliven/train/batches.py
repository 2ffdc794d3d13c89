"""From encoded clips to batches: pick a task, cut the clip, arrange it, drop conditions.

The tasks of LongCat 3.1: audio + text (nothing given), audio + text + image (first latent given) and continuation
(reference and context given, in the stitched format of 3.4: context latents are cut out of a longer encoding).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from enliven.data.encoded import EncodedClip, load_encoded
from enliven.errors import ConfigError
from enliven.models.audio import SpeechFeatures
from enliven.systems.longcat import ReferenceSkip
from enliven.types import Conditioning, LatentClip, LatentLayout, Text

FPS = 25


@dataclass(frozen=True, slots=True)
class TaskMix:
    """How often each task is trained, and how often conditions are dropped or disturbed.

    Of ``null_audio``, ``null_text`` and ``null_both`` at most one holds for a sample; guidance runs all three.
    ``blur`` is the highest noise level put on context latents, whose level is still given as 0: at inference they
    are the model's own and never perfect.
    """

    text: float = 0.18
    image: float = 0.32
    null_audio: float = 0.05
    null_text: float = 0.05
    null_both: float = 0.08
    skip: float = 0.3
    blur: float = 0.15


class ClipBatches:
    """An endless stream of batches from a folder of encoded clips, all kept in memory."""

    def __init__(
        self,
        folder: Path,
        embed: Callable[[Sequence[str]], Text],
        *,
        batch: int = 8,
        frames: int = 11,
        context: int = 2,
        mix: TaskMix | None = None,
    ) -> None:
        self.folder, self.batch, self.frames, self.context = folder, batch, frames, context
        self.mix = mix or TaskMix()
        self.embed = embed
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
        """One batch: ``clip`` with true latents, ``given`` clean latents as the backbone sees them, ``cond``."""
        names = sorted(self.clips)
        picks = torch.randint(len(names), (self.batch,))
        clips = [self.clips[names[int(pick)]] for pick in picks]
        draw = _uniform()
        if draw < self.mix.text + self.mix.image:
            start, reference, layout = 0, None, self._opening(given=draw >= self.mix.text)
        else:
            start, reference, layout = self._continuation(clips[0])
        truth = torch.stack([clip.latents[:, start : start + self.frames] for clip in clips])
        if reference is not None:
            truth = torch.cat([torch.stack([clip.references[reference] for clip in clips])[:, :, None], truth], dim=2)
        clip = LatentClip(truth, layout)
        return {"clip": clip, "given": self._given(clip), "cond": self._conditioning(clips, start)}

    def _opening(self, *, given: bool) -> LatentLayout:
        return ReferenceSkip(0, 0)(frames=self.frames, context=1 if given else 0, reference=False)

    def _continuation(self, clip: EncodedClip) -> tuple[int, int, LatentLayout]:
        """A cut inside the clip and a reference from anywhere in it, placed by its distance in time (3.3)."""
        start = _integer(1, clip.latents.shape[1] - self.frames)
        reference = _integer(0, clip.references.shape[0] - 1)
        position = int(clip.reference_frames[reference]) / 4 - start
        radius = _integer(1, 3) if _uniform() < self.mix.skip else 0
        arrange = ReferenceSkip(position, radius)
        return start, reference, arrange(frames=self.frames, context=self.context, reference=True)

    def _given(self, clip: LatentClip) -> Float[Tensor, "b c clean h w"]:
        """Clean latents, the context slightly disturbed in half of the batches."""
        given = clip.latents[:, :, : clip.layout.clean].clone()
        if clip.layout.references and _uniform() < 0.5:
            level = _uniform() * self.mix.blur
            context = given[:, :, clip.layout.references :]
            given[:, :, clip.layout.references :] = context.lerp(torch.randn_like(context), level)
        return given

    def _conditioning(self, clips: Sequence[EncodedClip], start: int) -> Conditioning:
        heard = range(4 * start, 4 * (start + self.frames) - 3)
        audio = torch.stack([SpeechFeatures(clip.audio, FPS).windows(heard)[None] for clip in clips])
        draw, both = torch.rand(self.batch), self.mix.null_both
        deaf = draw < both + self.mix.null_audio
        mute = (draw < both) | ((draw >= both + self.mix.null_audio) & (draw < self._dropped))
        audio[deaf] = 0
        null = self.texts[""]
        texts = [null if drop else self.texts[clip.caption] for clip, drop in zip(clips, mute.tolist(), strict=True)]
        return Conditioning(_stack(texts), _stack([null] * len(clips)), audio)

    @property
    def _dropped(self) -> float:
        return self.mix.null_both + self.mix.null_audio + self.mix.null_text


def _uniform() -> float:
    return float(torch.rand(()))


def _integer(low: int, high: int) -> int:
    return int(torch.randint(low, high + 1, ()))


def _stack(texts: Sequence[Text]) -> Text:
    masks = [text.mask for text in texts if text.mask is not None]
    return Text(torch.cat([text.tokens for text in texts]), torch.cat(masks) if masks else None)
