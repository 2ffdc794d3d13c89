"""A video of any length as a row of clips, each made by one run of the backbone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol, runtime_checkable

from enliven.errors import ConfigError, RequestError
from enliven.types import ClipPlan, LatentLayout


@dataclass(frozen=True, slots=True)
class ClipGeometry:
    """Sizes of a clip in video frames: ``context`` of its ``frames`` repeat the clip before.

    ``stride`` is the number of video frames in a latent frame, but the first latent frame of a causal stream holds
    one. Without a ``pivot`` that first one is part of a clip (LongCat-Video-Avatar), which has a multiple of ``stride``
    plus 1 frames. With a ``pivot`` (Soul) it is a picture in front of every clip, never shown, and a clip is whole
    strides. Raises ConfigError when the frames do not fill whole latent frames.
    """

    frames: int
    context: int
    fps: int
    stride: int = 4
    pivot: bool = False

    def __post_init__(self) -> None:
        single = 0 if self.pivot else 1
        for name, count in (("frames", self.frames), ("context", self.context)):
            if count < 1 or count % self.stride != single:
                near = max(1 - single, round((count - single) / self.stride)) * self.stride + single
                raise ConfigError(
                    f"{name} {count} do not fill whole latent frames of {self.stride} video frames",
                    hint=f"use a multiple of {self.stride}{' plus 1' * single}, such as {near}",
                )
        if self.frames < 2 * self.context:
            raise ConfigError(
                f"a clip of {self.frames} frames cannot repeat {self.context} and give as many to the next",
                hint=f"use a context of at most {self.frames // 2} frames",
            )

    def latents(self, frames: int) -> int:
        """How many latent frames hold ``frames`` video frames."""
        return -(-frames // self.stride)


@runtime_checkable
class Arrange(Protocol):
    """A method's placement of reference, context and noise."""

    def __call__(self, *, frames: int, context: int, reference: bool) -> LatentLayout:
        """The layout of ``frames`` latent frames, ``context`` of them given, after a reference frame if any."""
        ...


def plan_shots(
    total: int,
    cuts: Sequence[int],
    geometry: ClipGeometry,
    arrange: Arrange,
    *,
    portrait: bool = False,
    continuing: bool = False,
) -> tuple[ClipPlan, ...]:
    """The clips of a video of ``total`` frames with other shots from the ``cuts`` on, each of which has a portrait.

    The first shot is as in ``plan_clips``. Raises RequestError where a shot has no frames.
    """
    shots = [range(start, stop) for start, stop in pairwise([0, *cuts, total])]
    plans = list(plan_clips(len(shots[0]), geometry, arrange, portrait=portrait, continuing=continuing))
    for shot in shots[1:]:
        for plan in plan_clips(len(shot), geometry, arrange, portrait=True):
            emits = range(shot.start + plan.emits.start, shot.start + plan.emits.stop)
            plans.append(replace(plan, index=len(plans), emits=emits))
    return tuple(plans)


def plan_clips(
    total: int, geometry: ClipGeometry, arrange: Arrange, *, portrait: bool = False, continuing: bool = False
) -> tuple[ClipPlan, ...]:
    """The clips of a shot of ``total`` frames.

    The first clip is free (audio and text), starts from a ``portrait``, or goes on from the last frames of another
    video (``continuing``). All others continue the one before. Every clip is made at full length; the last emits only
    what is left. Raises RequestError when there is nothing to make.
    """
    if total < 1:
        raise RequestError(f"a video of {total} frames was asked for", hint="ask for at least one frame")
    latents, context = geometry.latents(geometry.frames), geometry.latents(geometry.context)
    layout = arrange(frames=latents, context=context, reference=True)
    new = geometry.frames - geometry.context
    following = ClipPlan(0, range(new), geometry.context, geometry.frames, layout)
    plans = [following if continuing else _first(geometry, arrange, portrait=portrait)]
    while (start := plans[-1].emits.stop) < total:
        plans.append(replace(following, index=len(plans), emits=range(start, start + new)))
    plans[-1] = replace(plans[-1], emits=range(plans[-1].emits.start, total))
    return tuple(plans)


def _first(geometry: ClipGeometry, arrange: Arrange, *, portrait: bool) -> ClipPlan:
    """The clip that nothing comes before: a portrait is its pivot, or else its frame 0."""
    frames = geometry.frames + (geometry.pivot and not portrait)  # without a pivot, the single frame is its own
    layout = arrange(
        frames=geometry.latents(frames),
        context=int(portrait and not geometry.pivot),
        reference=portrait and geometry.pivot,
    )
    return ClipPlan(0, range(frames), 0, frames, layout)
