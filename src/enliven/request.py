"""What can be asked for, and what that makes of a model."""

from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from enliven.errors import RequestError
from enliven.media.buckets import choose_bucket
from enliven.systems.spec import ModelSpec, adjusted

PIXELS = 16
LONGEST_SECONDS = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Scales:
    """Guidance scales; what is None, the model decides."""

    text: float | None = None
    audio: float | None = None


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One video. What is None, the model decides.

    ``portrait`` is frame 0 of the video; ``video`` is gone on from instead. The video lasts ``seconds``, or as long as
    the ``audio``; without audio it is silent. ``reference_index`` (in latent frames) and ``skip_radius`` place the
    reference.
    """

    audio: tuple[Path, ...] = ()
    prompt: str = ""
    negative_prompt: str | None = None
    portrait: Path | None = None
    video: Path | None = None
    seconds: float | None = None
    height: int | None = None
    width: int | None = None
    steps: int | None = None
    guidance: Scales = Scales()
    reference_index: float | None = None
    skip_radius: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.audio) > 1:
            raise RequestError(f"{len(self.audio)} voices were given; one is heard", hint="give one sound file")
        if self.seconds is None and not self.audio:
            raise RequestError("neither audio nor seconds say how long the video is", hint="give either of them")
        if self.seconds is not None and not 0 < self.seconds <= LONGEST_SECONDS:
            raise RequestError(f"{self.seconds:g} seconds are no length of a video", hint="give up to 24 hours")
        if (self.height is None) != (self.width is None):
            raise RequestError(
                f"height {self.height} and width {self.width}: one of them is missing", hint="give both or none"
            )

    def apply(self, spec: ModelSpec) -> ModelSpec:
        """The model with its strategies as asked for.

        Raises RequestError for what it does not have, and ConfigError for a number of steps it cannot take.
        """
        wanted = replace(
            spec,
            arrange=adjusted(spec.arrange, {"position": self.reference_index, "radius": self.skip_radius}),
            guidance=adjusted(spec.guidance, {"text": self.guidance.text, "audio": self.guidance.audio}),
            steps=spec.steps if self.steps is None else self.steps,
            negative_prompt=spec.negative_prompt if self.negative_prompt is None else self.negative_prompt,
        )
        for schedule in (wanted.schedule, wanted.continuation_schedule or wanted.schedule):
            schedule(wanted.steps)  # asked now, so that what it refuses is refused before any work
        return wanted

    def size(self, spec: ModelSpec, picture: Image.Image | None) -> tuple[int, int]:
        """Height and width of a video that starts from ``picture``; RequestError for sides of unfilled patches."""
        if self.height is None or self.width is None:
            if spec.resolution and picture:
                return choose_bucket(picture.height, picture.width, spec.resolution)
            return spec.size
        for name, side in (("height", self.height), ("width", self.width)):
            if side < PIXELS or side % PIXELS:
                near = max(1, round(side / PIXELS)) * PIXELS
                raise RequestError(f"{name} {side} is no multiple of {PIXELS}", hint=f"use {near}")
        return self.height, self.width
