"""A model by name: networks and strategies, as data."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from enliven.diffusion.clips import Arrange, ClipGeometry
from enliven.diffusion.guidance import Guide
from enliven.diffusion.sample import DetailSchedule, LateSchedule, Schedule
from enliven.diffusion.solvers import Euler, Solver
from enliven.errors import RequestError, WeightsError
from enliven.models.networks import FULL, NetworkParams, Networks
from enliven.models.releases import Release, variants_in
from enliven.systems.carry import Carry
from enliven.systems.sizes import ChooseSize
from enliven.types import Soundless

PACKAGED = Path(__file__).resolve().parents[1] / "weights"
PLACES = "ENLIVEN_WEIGHTS"

Strategy = TypeVar("Strategy")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Everything that makes a model what it is, apart from its weights.

    ``size`` is the default height and width; with ``choose_size``, a portrait decides. Either side is a multiple of
    ``side_step``. Clips that continue another use ``continuation_schedule``, if there is one. A ``negative_prompt`` is
    what guidance leads away from when the request names nothing. ``decoder`` names one of the ``Networks``.

    A published model names its ``release`` and ``variant``, and the LoRA in its folder that made it quick, if one did:
    its ``distillation``. A student names its ``teacher``. It hears any number of ``voices``, or so many at most.

    A model that ``refines`` begins each clip from the same frames of a video that there is. ``attention`` is the kernel
    it was trained with, where that is another than full attention. ``soundless`` is what it learns to hear where a
    video has no sound: silence (LongCat, 3.2) or null audio (Soul, 3.2).
    """

    name: str
    summary: str
    params: NetworkParams
    geometry: ClipGeometry
    arrange: Arrange
    carry: Carry
    guidance: Guide
    schedule: Schedule
    steps: int
    size: tuple[int, int]
    solver: Solver = field(default_factory=Euler)
    decoder: str = FULL
    choose_size: ChooseSize | None = None
    side_step: int = 16
    continuation_schedule: Schedule | None = None
    negative_prompt: str = ""
    release: Release | None = None
    variant: str | None = None
    distillation: str | None = None
    teacher: str | None = None
    voices: int | None = None
    refines: bool = False
    attention: str = "auto"
    soundless: Soundless = "silence"

    def levels(self, *, continuing: bool) -> list[float]:
        """The noise levels of a clip, down to 0, be it one that continues another or not. Raises ConfigError."""
        schedule = self.continuation_schedule if continuing and self.continuation_schedule else self.schedule
        return schedule(self.steps)

    def check(self, networks: Networks) -> None:
        """Refuse networks that lack what this needs: WeightsError for a codebook, RequestError for a decoder."""
        self.carry.check(networks)
        networks.decoder(self.decoder)

    @property
    def quantised(self) -> bool:
        """Whether its backbone is published in int8."""
        return self.variant == "int8"

    @property
    def weights(self) -> Path:
        """Where the weights are: in the package, or in a folder that ``ENLIVEN_WEIGHTS`` names. Raises WeightsError.

        They are in a folder with the name of the model, or in the published one.
        """
        places = [PACKAGED, *(Path(place) for place in os.environ.get(PLACES, "").split(os.pathsep) if place)]
        for place in places:
            if (place / self.name).is_dir():
                return place / self.name
            if self.release is not None and self.variant in variants_in(self.release, place / self.release.name):
                return place / self.release.name
        name = self.release.name if self.release else self.name
        hint = f"set {PLACES} to the folder that holds a folder {name}"
        if self.release is not None:
            fetch = f"enliven models download {name} --variant {self.variant}"
            hint += f", or name that folder with --weights; {fetch} fetches it"
        raise WeightsError(
            f"the weights of {self.name} are not here; looked in {', '.join(map(str, places))}", hint=hint
        )

    def shifted(self, shift: float) -> "ModelSpec":
        """The same model with the shift of its schedules that its published folder says."""
        later = self.continuation_schedule
        return replace(
            self,
            schedule=_shifted(self.schedule, shift),
            continuation_schedule=None if later is None else _shifted(later, shift),
        )


def _shifted(schedule: Schedule, shift: float) -> Schedule:
    if isinstance(schedule, DetailSchedule):
        return replace(schedule, above=_shifted(schedule.above, shift))
    if isinstance(schedule, LateSchedule):
        return replace(schedule, of=_shifted(schedule.of, shift))
    return replace(schedule, shift=shift)  # type: ignore[type-var]


def adjusted(strategy: Strategy, values: Mapping[str, Any]) -> Strategy:
    """A strategy with those ``values`` changed that are not None. Raises RequestError for what it does not have."""
    given = {name: value for name, value in values.items() if value is not None}
    names = [field.name for field in fields(strategy)]  # type: ignore[arg-type]
    for name in given:
        if name not in names:
            raise RequestError(
                f"this model has no {name} to set: {type(strategy).__name__} takes {', '.join(names) or 'nothing'}",
                hint="leave it out, or choose another model",
            )
    try:
        return replace(strategy, **given)  # type: ignore[type-var]
    except ValueError as error:
        raise RequestError(str(error), hint="give another value") from error
