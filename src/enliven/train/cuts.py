"""How training clips are cut out of longer encoded ones: one strategy for each paper."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from enliven.data.encoded import EncodedClip
from enliven.diffusion.clips import Arrange
from enliven.systems.longcat import ReferenceSkip
from enliven.types import LatentClip, LatentLayout


@dataclass(frozen=True, slots=True)
class Cut:
    """A batch of training clips: the truth, its clean frames as the backbone sees them, the video frames it hears."""

    clip: LatentClip
    given: Float[Tensor, "b c clean h w"]
    heard: range


@runtime_checkable
class Cutting(Protocol):
    """Cuts a batch, all with one layout, out of clips of one length."""

    def __call__(self, clips: Sequence[EncodedClip]) -> Cut:
        """Draws its chances from torch's generator."""
        ...


@dataclass(frozen=True, slots=True)
class StitchedCuts:
    """LongCat-Video-Avatar 3.1 and 3.4: audio and text (nothing given), with an image (the first latent given), or
    a continuation, whose context latents come out of a longer encoding and whose reference from anywhere in it.

    ``text`` and ``image`` say how often the first two come, ``skip`` how often the reference is skipped around its
    place. ``blur`` is the highest noise level put on half of the contexts, given as 0 still: at inference they are
    the model's own and never perfect. ``frames`` and ``context`` are counted in latent frames.
    """

    frames: int = 11
    context: int = 2
    text: float = 0.18
    image: float = 0.32
    skip: float = 0.3
    blur: float = 0.15

    @property
    def needed(self) -> int:
        """How many latent frames a clip must have: the first, which holds a single video frame, begins no cut."""
        return self.frames + 1

    def __call__(self, clips: Sequence[EncodedClip]) -> Cut:
        """The first clip decides where a continuation begins."""
        draw = _uniform()
        if draw < self.text + self.image:
            layout = ReferenceSkip(0, 0)(frames=self.frames, context=int(draw >= self.text), reference=False)
            truth = _latents(clips, 0, self.frames)
            return Cut(LatentClip(truth, layout), truth[:, :, : layout.clean], _heard(0, self.frames))
        start = self._start(clips[0])
        reference = _integer(0, clips[0].references.shape[0] - 1)
        truth = torch.cat([_picture(clips, reference), _latents(clips, start, self.frames)], dim=2)
        layout = self._continuation(clips[0], start, reference)
        given = _blurred(truth[:, :, : layout.clean], kept=1, most=self.blur)
        return Cut(LatentClip(truth, layout), given, _heard(start, self.frames))

    def shown(self) -> "StitchedCuts":
        """The same, beginning with an image wherever this begins with nothing: several people must be seen (3.5)."""
        return replace(self, text=0.0, image=self.text + self.image)

    def described(self, frames: int) -> "StitchedCuts":
        """The same, but of so many latent frames, and nothing is ever given."""
        return replace(self, frames=frames, text=1.0, image=0.0)

    def _start(self, clip: EncodedClip) -> int:
        """The latent frame that a continuation begins with."""
        return _integer(1, clip.latents.shape[1] - self.frames)

    def _continuation(self, clip: EncodedClip, start: int, reference: int) -> LatentLayout:
        """The reference is placed by its distance in time (3.3)."""
        position = int(clip.reference_frames[reference]) / 4 - start
        radius = _integer(1, 3) if _uniform() < self.skip else 0
        return ReferenceSkip(position, radius)(frames=self.frames, context=self.context, reference=True)


@dataclass(frozen=True, slots=True)
class ReencodedCuts(StitchedCuts):
    """LongCat-Video-Avatar 1.5: the same, for a model whose context is encoded anew (``systems.carry.Reencode``).

    The first latent of such a context holds a single video frame. Encoders are causal: what a clip begins with is what
    its first frames give alone. So a continuation begins where the clip does.
    """

    @property
    def needed(self) -> int:
        """How many latent frames a clip must have."""
        return self.frames

    def _start(self, clip: EncodedClip) -> int:  # noqa: ARG002
        return 0


@dataclass(frozen=True, slots=True)
class PivotCuts:
    """Soul 3.2: a pivot before every clip, its overlap given in a part of the batches.

    The pivot shows a random moment, in ``opening`` of the batches the one just before the clip, as where a video
    begins: never where an overlap is given, unless ``opening`` is more than all other batches. ``overlap`` latent
    frames of the ``frames`` are given in ``continuing`` of the batches, blurred as above; they show what the clip goes
    on from. In ``free`` of all batches there is neither, a video without a portrait: the other shares are of the rest.
    Where a clip goes on from another place, ``patchy`` of its overlaps show that in some patches only, and in the
    others where it is going.
    """

    arrange: Arrange
    frames: int = 12
    overlap: int = 2
    opening: float = 0.3
    continuing: float = 0.5
    free: float = 0.05
    blur: float = 0.1
    patchy: float = 0.5

    @property
    def needed(self) -> int:
        """How many latent frames a clip must have."""
        return self.frames + 1

    def __call__(self, clips: Sequence[EncodedClip]) -> Cut:
        """The first clip decides where the cut begins; the latent frame of a single video frame is never in it."""
        if _uniform() < self.free:
            layout = self.arrange(frames=self.frames + 1, context=0, reference=False)
            truth = _latents(clips, 0, self.frames + 1)
            return Cut(LatentClip(truth, layout), truth[:, :, :0], _heard(0, self.frames + 1))
        start = _integer(1, clips[0].latents.shape[1] - self.frames)
        continues = _uniform() < self.continuing
        layout = self.arrange(frames=self.frames, context=self.overlap if continues else 0, reference=True)
        opens = _likely(self._opens(continues=continues))
        reference = self._before(clips[0], start) if opens else _integer(0, clips[0].references.shape[0] - 1)
        picture = _picture(clips, reference)
        truth = torch.cat([picture, _latents(clips, start, self.frames)], dim=2)
        given = torch.cat([picture, self._going_on_from(clips, start, layout.clean - 1)], dim=2)
        given = _blurred(given, kept=1, most=self.blur)
        return Cut(LatentClip(truth, layout), given, range(4 * start - 3, 4 * (start + self.frames) - 3))

    def described(self, frames: int) -> "PivotCuts":
        """The same, but of so many latent frames, and nothing is ever given; a pivot would be one of them."""
        return replace(self, frames=frames - 1, free=1.0)

    def _opens(self, *, continues: bool) -> float:
        """How likely the pivot is the moment before; where clips continue, only as often as the others cannot be."""
        others = 1 - self.continuing
        if continues:
            return max(0.0, self.opening - others) / self.continuing
        return self.opening / others

    def _going_on_from(self, clips: Sequence[EncodedClip], start: int, frames: int) -> Float[Tensor, "b c t h w"]:
        """A scene that changes comes in patches: what has come has to spread, and the rest to go."""
        there, before = _latents(clips, start, frames), _before(clips, start, frames)
        if torch.equal(there, before):
            return before
        patchy = torch.rand(len(clips), 1, 1, 1, 1) < self.patchy
        return torch.where(patchy & _patches(there), there, before)

    def _before(self, clip: EncodedClip, start: int) -> int:
        """The reference nearest to the last video frame before the cut."""
        return int((clip.reference_frames - 4 * (start - 1)).abs().argmin())


def _latents(clips: Sequence[EncodedClip], start: int, frames: int) -> Float[Tensor, "b c t h w"]:
    return torch.stack([clip.latents[:, start : start + frames] for clip in clips])


def _before(clips: Sequence[EncodedClip], start: int, frames: int) -> Float[Tensor, "b c t h w"]:
    """What the clips go on from: usually themselves."""
    shown = [clip.latents if clip.before is None else clip.before for clip in clips]
    return torch.stack([latents[:, start : start + frames] for latents in shown])


def _patches(latents: Float[Tensor, "b c t h w"]) -> Bool[Tensor, "b 1 1 h w"]:
    """Some squares, of all clips as large, of each a share of its own."""
    clips, height, width = latents.shape[0], *latents.shape[-2:]
    side = 2 ** _integer(1, 3)
    chosen = torch.rand(clips, 1, 1, -(-height // side), -(-width // side)) < torch.rand(clips, 1, 1, 1, 1)
    return chosen.repeat_interleave(side, -2).repeat_interleave(side, -1)[..., :height, :width]


def _picture(clips: Sequence[EncodedClip], reference: int) -> Float[Tensor, "b c 1 h w"]:
    return torch.stack([clip.references[reference] for clip in clips])[:, :, None]


def _heard(start: int, frames: int) -> range:
    """The video frames of latent frames, of the first of them only the last."""
    return range(4 * start, 4 * (start + frames) - 3)


def _blurred(given: Float[Tensor, "b c clean h w"], kept: int, most: float) -> Float[Tensor, "b c clean h w"]:
    """In half of all batches with noise up to the level ``most`` on all but the first ``kept`` frames."""
    if given.shape[2] == kept or _uniform() >= 0.5:
        return given
    context = given[:, :, kept:]
    return torch.cat([given[:, :, :kept], context.lerp(torch.randn_like(context), _uniform() * most)], dim=2)


def _likely(chance: float) -> bool:
    """Nothing is drawn for what never happens: numbers drawn later stay what they are."""
    return chance > 0 and _uniform() < chance


def _uniform() -> float:
    return float(torch.rand(()))


def _integer(low: int, high: int) -> int:
    return int(torch.randint(low, high + 1, ()))
