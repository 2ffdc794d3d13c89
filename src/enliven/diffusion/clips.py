"""A video of any length as a row of clips, each made by one run of the backbone."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from enliven.errors import ConfigError, RequestError
from enliven.types import ClipPlan, LatentLayout


@dataclass(frozen=True, slots=True)
class ClipGeometry:
    """Sizes of a clip in video frames: ``context`` of its ``frames`` repeat the clip before.

    ``stride`` is the number of video frames in a latent frame, the first of which holds one. Raises ConfigError when
    the frames do not fill whole latent frames.
    """

    frames: int
    context: int
    fps: int
    stride: int = 4

    def __post_init__(self) -> None:
        for name, count in (("frames", self.frames), ("context", self.context)):
            if count < 1 or count % self.stride != 1:
                near = max(0, round((count - 1) / self.stride)) * self.stride + 1
                raise ConfigError(
                    f"{name} {count} do not fill whole latent frames of {self.stride} video frames",
                    hint=f"use a multiple of {self.stride} plus 1, such as {near}",
                )
        if self.frames < 2 * self.context:
            raise ConfigError(
                f"a clip of {self.frames} frames cannot repeat {self.context} and give as many to the next",
                hint=f"use a context of at most {self.frames // 2} frames",
            )

    def latents(self, frames: int) -> int:
        """How many latent frames hold ``frames`` video frames."""
        return (frames - 1) // self.stride + 1


@runtime_checkable
class Arrange(Protocol):
    """A method's placement of reference, context and noise."""

    def __call__(self, *, frames: int, context: int, reference: bool) -> LatentLayout:
        """The layout of ``frames`` latent frames, ``context`` of them given, after a reference frame if any."""
        ...


def plan_clips(
    total: int, geometry: ClipGeometry, arrange: Arrange, *, portrait: bool = False, continuing: bool = False
) -> tuple[ClipPlan, ...]:
    """The clips of a video of ``total`` frames.

    The first clip is free (audio and text), starts from a ``portrait``, which is then frame 0 of the video, or goes on
    from the last frames of another video (``continuing``). All others continue the one before. Every clip is made at
    full length; the last emits only what is left. Raises RequestError when there is nothing to make.
    """
    if total < 1:
        raise RequestError(f"a video of {total} frames was asked for", hint="ask for at least one frame")
    frames, context = geometry.latents(geometry.frames), geometry.latents(geometry.context)
    following = arrange(frames=frames, context=context, reference=True)
    first = following if continuing else arrange(frames=frames, context=int(portrait), reference=False)
    repeated = geometry.context if continuing else 0
    plans: list[ClipPlan] = []
    start = 0
    while start < total:
        stop = min(start + geometry.frames - repeated, total)
        layout = following if plans else first
        plans.append(ClipPlan(len(plans), range(start, stop), repeated, geometry.frames, layout))
        start, repeated = stop, geometry.context
    return tuple(plans)
