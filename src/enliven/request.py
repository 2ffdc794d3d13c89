"""What can be asked for, and what that makes of a model."""

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from PIL import Image

from enliven.errors import ConfigError, RequestError
from enliven.media.regions import Box
from enliven.media.voices import Turns
from enliven.systems import MODELS
from enliven.systems.spec import ModelSpec, adjusted

LONGEST_SECONDS = 24 * 3600.0

Place = Box | Path
"""Where somebody is in the picture: a box, or a mask picture that is white there."""


@dataclass(frozen=True, slots=True)
class Scales:
    """Guidance scales; what is None, the model decides."""

    text: float | None = None
    audio: float | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """What is seen from ``start`` on, in seconds.

    It comes about in the clip that is made then. With a ``cut`` or a ``portrait`` it is there at once: a shot of its
    own, which begins with its portrait, cut to the shape of the video, or else with that of the video.
    """

    start: float
    prompt: str
    portrait: Path | None = None
    cut: bool = False

    def __post_init__(self) -> None:
        if not self.start >= 0:
            raise RequestError(f"a scene starts at {self.start:g} seconds", hint="a video starts at 0")
        if not self.prompt.strip():
            raise RequestError(f"the scene at {self.start:g} seconds has no prompt", hint="say what is seen in it")
        if self.begins_shot and not self.start:
            raise RequestError(
                f"the scene at 0 seconds has {'a portrait of its own' if self.portrait else 'a cut'}",
                hint="a video begins with its own portrait; give cuts and portraits to scenes that come later",
            )

    @property
    def begins_shot(self) -> bool:
        """It begins with a cut."""
        return self.cut or self.portrait is not None


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One video. What is None, the model decides.

    It shows who is in the ``portrait``, or goes on from a ``video``. It lasts ``seconds``, or as long as the ``audio``;
    without audio it is silent. Or it is a ``draft``, made anew by a model that refines. The scenes of the ``timeline``
    take the place of the ``prompt``, each from its start to the next. ``reference_index`` (in latent frames) and
    ``skip_radius`` place the reference; ``repair_percentile`` is the share of real latents that a repair would leave
    alone; ``decoder`` is one that the model has.

    Several people have one ``audio`` each, None for somebody who only listens, and take ``turns``. ``speakers`` says
    where each of them is in the portrait, or in the first frame of the video; if empty, they are looked for.
    ``vocals`` says how the voice is parted from music and noise before it is listened to, see ``find_separator``.
    """

    audio: tuple[Path | None, ...] = ()
    speakers: tuple[Place, ...] = ()
    turns: Turns = Turns.TOGETHER
    vocals: str | None = None
    prompt: str = ""
    negative_prompt: str | None = None
    timeline: tuple[Scene, ...] = ()
    portrait: Path | None = None
    video: Path | None = None
    draft: Path | None = None
    seconds: float | None = None
    height: int | None = None
    width: int | None = None
    steps: int | None = None
    guidance: Scales = Scales()
    reference_index: float | None = None
    skip_radius: int | None = None
    repair_percentile: float | None = None
    decoder: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        self._check_people()
        beside = (self.audio, self.portrait, self.video, self.vocals, self.seconds)
        if self.draft is not None and any(value not in (None, ()) for value in beside):
            raise RequestError(
                f"{self.draft} is refined, which neither sound, another picture nor a length can change",
                hint="name the video alone; its sound stays",
            )
        if self.seconds is None and not self.audio and self.draft is None:
            raise RequestError("neither audio nor seconds say how long the video is", hint="give either of them")
        if self.seconds is not None and not 0 < self.seconds <= LONGEST_SECONDS:
            raise RequestError(f"{self.seconds:g} seconds are no length of a video", hint="give up to 24 hours")
        if (self.height is None) != (self.width is None):
            raise RequestError(
                f"height {self.height} and width {self.width}: one of them is missing", hint="give both or none"
            )
        self._check_cuts()
        for before, after in pairwise(self.timeline):
            if after.start <= before.start:
                raise RequestError(
                    f"the scene at {after.start:g} seconds does not come after that at {before.start:g} seconds",
                    hint="put the scenes in the order of their time",
                )
        if self.seconds is not None:
            self.check_timeline(self.seconds)

    def _check_people(self) -> None:
        if self.audio and not any(self.audio):
            raise RequestError(f"{len(self.audio)} voices, and all of them are silent", hint="give one recording")
        if self.speakers and len(self.speakers) != len(self.audio):
            raise RequestError(
                f"{len(self.speakers)} speakers are placed, but {len(self.audio)} voices are given",
                hint="give one place for each voice, in their order, or none at all",
            )
        if len({isinstance(place, Box) for place in self.speakers}) > 1:
            raise RequestError("some speakers have a box and some a mask", hint="give all boxes, or all masks")
        if len(self.audio) > 1 and self.portrait is None and self.video is None:
            raise RequestError(
                f"{len(self.audio)} voices, but no picture of who speaks", hint="give a portrait of all of them"
            )

    def _check_cuts(self) -> None:
        shots = [scene for scene in self.timeline if scene.begins_shot]
        if shots and self.draft is not None:
            raise RequestError(f"{self.draft} is refined, which makes no cuts", hint="leave out those of the scenes")
        for scene in shots:
            if scene.portrait is None and self.portrait is None and self.video is None:
                raise RequestError(
                    f"the scene at {scene.start:g} seconds begins with a cut, and nothing says with whom",
                    hint="give it a portrait, or the video one",
                )
            if scene.portrait is not None and len(self.audio) > 1:
                raise RequestError(
                    f"{len(self.audio)} voices, and the scene at {scene.start:g} seconds has a picture of its own",
                    hint="where several people speak, all scenes show them in one picture; leave it out",
                )

    def check_timeline(self, seconds: float) -> None:
        """Raise RequestError for a scene that starts when a video of that length is over."""
        if self.timeline and self.timeline[-1].start >= seconds:
            raise RequestError(
                f"a scene starts at {self.timeline[-1].start:g} seconds, but the video ends at {seconds:g}",
                hint="start it earlier, or make the video longer",
            )

    def apply(self, spec: ModelSpec) -> ModelSpec:
        """The model with its strategies as asked for.

        Raises RequestError for what it does not have, and ConfigError for a number of steps it cannot take.
        """
        self._check_fit(spec)
        wanted = replace(
            spec,
            arrange=adjusted(spec.arrange, {"position": self.reference_index, "radius": self.skip_radius}),
            carry=adjusted(spec.carry, {"percentile": self.repair_percentile}),
            guidance=adjusted(spec.guidance, {"text": self.guidance.text, "audio": self.guidance.audio}),
            steps=spec.steps if self.steps is None else self.steps,
            decoder=spec.decoder if self.decoder is None else self.decoder,
            negative_prompt=spec.negative_prompt if self.negative_prompt is None else self.negative_prompt,
        )
        _check_steps(wanted)
        return wanted

    def _check_fit(self, spec: ModelSpec) -> None:
        """Refuse what this model does not do at all."""
        if spec.voices is not None and len(self.audio) > spec.voices:
            alike = (each for each in MODELS.values() if each.release is spec.release is not None)
            other = next((each.name for each in alike if each.voices is None), "a LongCat avatar")
            heard = {0: "nothing", 1: "one"}.get(spec.voices, spec.voices)
            raise RequestError(
                f"{len(self.audio)} voices were given; {spec.name} hears {heard}",
                hint=f"give {'one sound file' if spec.voices else 'seconds and no sound'}, or choose {other}",
            )
        if spec.refines != (self.draft is not None):
            other = next((each.name for each in MODELS.values() if each.refines), "one that does")
            raise RequestError(
                f"{spec.name} {'refines a video, and none was given' if spec.refines else 'refines no videos'}",
                hint="name it with --refine, or choose another model" if spec.refines else f"choose {other}",
            )
        if self.portrait and self.video and not spec.arrange(frames=2, context=1, reference=True).references:
            raise RequestError(
                f"{spec.name} goes on from a video or begins with a picture; both were given", hint="leave out either"
            )

    def size(self, spec: ModelSpec, picture: Image.Image | None) -> tuple[int, int]:
        """Height and width of a video that starts from ``picture``; RequestError for sides of unfilled patches.

        Where a model leaves it open, several people are shown as wide as their picture, so that nobody is cut off.
        """
        if self.height is None or self.width is None:
            if picture is None:
                return spec.size
            if spec.choose_size:
                return spec.choose_size(picture.height, picture.width)
            height, width = spec.size
            wide = round(height * picture.width / picture.height / spec.side_step) * spec.side_step
            return height, (max(width, wide) if len(self.audio) > 1 else width)
        for name, side in (("height", self.height), ("width", self.width)):
            if side < spec.side_step or side % spec.side_step:
                near = max(1, round(side / spec.side_step)) * spec.side_step
                raise RequestError(f"{name} {side} is no multiple of {spec.side_step}", hint=f"use {near}")
        return self.height, self.width


def _check_steps(spec: ModelSpec) -> None:
    """Ask the schedules now, so that what they refuse is refused before any work. Raises ConfigError."""
    for schedule in (spec.schedule, spec.continuation_schedule or spec.schedule):
        try:
            schedule(spec.steps)
        except ConfigError as error:
            if spec.teacher is None or spec.steps < 1:
                raise
            raise ConfigError(str(error), hint=f"{error.hint}, or --model {spec.teacher} for more") from None
