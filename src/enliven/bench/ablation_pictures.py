"""Pictures of an ablation: its measures with their errors, its curves, and the same moments of every variant."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from statistics import fmean
from typing import Any

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from enliven.bench.ablation_measures import Observed
from enliven.bench.verdicts import mean_and_error
from enliven.errors import MissingExtra
from enliven.media.image import fit_frames
from enliven.media.sheet import contact_sheet

TILE = 128


@dataclass(frozen=True, slots=True)
class Result:
    """What was seen of a variant: its ``observed`` videos, person by person, and some of its frames.

    ``losses`` are those of the lesson that its weights come from, by step.
    """

    observed: Sequence[Observed]
    frames: UInt8[Tensor, "f 3 h w"]
    cost: Mapping[str, float]
    losses: Mapping[int, float] = field(default_factory=dict)

    @property
    def numbers(self) -> dict[str, list[float]]:
        """By measure the mean over the clips of each person."""
        return {name: [fmean(each.numbers[name]) for each in self.observed] for name in self.observed[0].numbers}


def measures_plot(results: Mapping[str, Result]) -> Image.Image:
    """A strip for each measure: the mean of each variant and its standard error over people."""
    names = list(next(iter(results.values())).numbers)
    figure, axes = _figure(len(names), 1.0 + 0.28 * len(results), columns=2)
    for place, name in zip(axes, names, strict=False):
        for row, (variant, result) in enumerate(results.items()):
            mean, error = mean_and_error(result.numbers[name])
            place.errorbar([mean], [row], xerr=[0 if math.isnan(error) else error], fmt="o", color=f"C{row}")
            place.text(mean, row - 0.15, variant, fontsize=7, ha="center", va="bottom")
        place.set_ylim(len(results) - 0.5, -0.9)
        place.set_yticks([])
        place.set_title(name, loc="left", fontsize=9)
        place.grid(alpha=0.3)
    for place in axes[len(names) :]:
        place.set_visible(False)
    return _drawn(figure)


def curves_plot(results: Mapping[str, Result]) -> Image.Image:
    """A strip for each curve: the mean over all people, a line for each variant."""
    names = list(next(iter(results.values())).observed[0].curves)
    figure, axes = _figure(len(names), 2.4)
    for place, name in zip(axes, names, strict=False):
        for result_name, result in results.items():
            rows = [each.curves[name] for each in result.observed]
            mean = torch.tensor([row[: min(map(len, rows))] for row in rows]).mean(dim=0)
            place.plot(mean.tolist(), label=result_name, linewidth=1.3)
        place.set_title(name, loc="left", fontsize=9)
        place.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=8)
    return _drawn(figure)


def losses_plot(results: Mapping[str, Result]) -> Image.Image:
    """How the loss of each lesson went down over its steps."""
    figure, (place,) = _figure(1, 3.4)
    for name, result in results.items():
        if result.losses:
            place.plot(list(result.losses), list(result.losses.values()), label=name, linewidth=1.3)
    place.set_yscale("log")  # who begins far off would flatten all that comes later
    place.set_title("loss, by step of the lesson", loc="left", fontsize=9)
    place.grid(alpha=0.3, which="both")
    place.legend(fontsize=8)
    return _drawn(figure)


def frames_sheet(results: Mapping[str, Result]) -> Image.Image:
    """Frames of the first person at the same moments, a row for each variant."""
    tiles = torch.cat([fit_frames(result.frames, TILE, TILE) for result in results.values()])
    labels = [name if index == 0 else "" for name, result in results.items() for index in range(len(result.frames))]
    return contact_sheet(tiles, len(next(iter(results.values())).frames), labels, "the same moments of every video")


def _figure(strips: int, height: float, columns: int = 1) -> tuple[Any, list[Any]]:
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - only reports need it
    except ImportError as error:
        raise MissingExtra("plots need matplotlib", hint="pip install 'enliven[plot]'") from error
    rows = -(-strips // columns)
    figure = Figure(figsize=(11, height * rows), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _drawn(figure: Any) -> Image.Image:
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return Image.open(buffer).convert("RGB")
