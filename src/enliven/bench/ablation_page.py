"""The page of an ablation: the paper's claim beside ours, a table, plots, pictures; the numbers as JSON beside it."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image

from enliven.bench.ablation_pictures import Result, curves_plot, frames_sheet, losses_plot, measures_plot
from enliven.bench.ablation_recipe import Ablation, Claim
from enliven.bench.report import circumstances
from enliven.bench.verdicts import SURE, Verdict, judge, mean_and_error
from enliven.media.storage import replacing

PEOPLE = ("people", "person by person")
SEEN = {"people": PEOPLE, "scenes": PEOPLE, "sights": ("places", "place by place")}


def verdict(claim: Claim, results: Mapping[str, Result]) -> Verdict:
    """What became of a claim: of each person, the mean over clips in one variant is compared with that in the other."""
    if not {claim.more, claim.less} <= set(results):
        return judge([])
    more, less = (results[name].numbers[claim.measure] for name in (claim.more, claim.less))
    return judge([one - other for one, other in zip(more, less, strict=True)])


def write_page(
    name: str, ablation: Ablation, results: Mapping[str, Result], missing: Mapping[str, str], folder: Path
) -> Path:
    """Write ``folder/NAME.md``, its pictures and ``NAME.json``; returns the page. MissingExtra without matplotlib."""
    folder.mkdir(parents=True, exist_ok=True)
    about = circumstances(ablation.title)
    pictures = {"measures": measures_plot(results), "frames": frames_sheet(results)}
    if any(result.observed[0].curves for result in results.values()):
        pictures["curves"] = curves_plot(results)
    if any(result.losses for result in results.values()):
        pictures["losses"] = losses_plot(results)
    for kind, picture in pictures.items():
        with replacing(folder / f"{name}-{kind}.png") as path:
            picture.save(path, format="PNG", optimize=True)
    verdicts = [verdict(claim, results) for claim in ablation.claims]
    data = {
        "about": about,
        "claims": [
            {
                "says": claim.says,
                "difference": _plain(each.difference),
                "margin": _plain(each.margin),
                "verdict": each.word,
            }
            for claim, each in zip(ablation.claims, verdicts, strict=True)
        ],
        "sample": f"{_size(results)} {SEEN[ablation.shows][0]}",
        "numbers": {variant: result.numbers | _listed(result.cost) for variant, result in results.items()},
        "losses": {variant: result.losses for variant, result in results.items() if result.losses},
        "missing": dict(missing),
    }
    _write(folder / f"{name}.json", json.dumps(data, indent=1) + "\n")
    lines = _page(name, ablation, results, verdicts, missing, pictures)
    lines += ["## How it was measured", "", *(f"- {key}: {value}" for key, value in about.items() if key != "subject")]
    _write(folder / f"{name}.md", "\n".join(lines) + "\n")
    return folder / f"{name}.md"


def _page(
    name: str,
    ablation: Ablation,
    results: Mapping[str, Result],
    verdicts: Sequence[Verdict],
    missing: Mapping[str, str],
    pictures: Mapping[str, Image.Image],
) -> list[str]:
    lines = [f"# {ablation.title}", "", f"**{ablation.paper}.** {ablation.claim}", ""]
    if ablation.claims:
        lines += ["| the paper says | measure | here, difference | sign |", "|---|---|---|---|"]
        for claim, each in zip(ablation.claims, verdicts, strict=True):
            compared = f"{claim.measure}: {claim.more} over {claim.less}"
            lines.append(f"| {claim.says} | {compared} | {each.numbers} | {each.word} |")
        lines += ["", _meaning(ablation, _size(results)), ""]
    if ablation.remarks:
        lines += [ablation.remarks.strip(), ""]
    lines += _table(results)
    lines += [f"- **{variant}** is missing: {reason}" for variant, reason in missing.items()]
    lines += [""] * bool(missing)
    for kind in pictures:
        lines += [f"![{kind}]({name}-{kind}.png)", ""]
    return lines


def _size(results: Mapping[str, Result]) -> int:
    return len(next(iter(results.values())).observed)


def _meaning(ablation: Ablation, count: int) -> str:
    seen, each = SEEN[ablation.shows]
    return (
        f"Differences are taken {each}, between means over all clips: each of the {count} {seen} counts once. Behind ± "
        f"is half of their {SURE:.0%} interval (Student's t); *shown* and *the opposite*: it leaves out zero. In the "
        f"table of variants ± is one standard error over the {seen}, which may be larger, since they differ."
    )


def _table(results: Mapping[str, Result]) -> list[str]:
    """Means and standard errors, a column for each variant, and costs compared with those of the first."""
    lines = ["| | " + " | ".join(results) + " |", "|---|" + "---|" * len(results)]
    columns = [result.numbers | _listed(result.cost) for result in results.values()]
    for measure in columns[0]:
        cells = [_cell(column.get(measure, [])) for column in columns]
        lines.append(f"| {measure} | " + " | ".join(cells) + " |")
    costs = [result.cost for result in results.values()]
    for measure in costs[0]:
        cells = [f"{costs[0][measure] / cost[measure]:.3g}" for cost in costs]
        lines.append(f"| {measure}: so many times less | " + " | ".join(cells) + " |")
    return [*lines, *_losses(results), ""]


def _losses(results: Mapping[str, Result]) -> Iterator[str]:
    """Rows of a table: where the losses of lessons began, stood in the middle, and ended."""
    steps = sorted({step for result in results.values() for step in result.losses})
    for step in sorted({steps[0], steps[len(steps) // 2], steps[-1]}) if steps else ():
        cells = [f"{result.losses[step]:.3g}" if step in result.losses else "" for result in results.values()]
        yield f"| loss of the lesson, step {step} | " + " | ".join(cells) + " |"


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    mean, error = mean_and_error(values)
    return f"{mean:.3g}" if math.isnan(error) else f"{mean:.3g} ± {error:.1g}"


def _listed(cost: Mapping[str, float]) -> dict[str, list[float]]:
    return {name: [value] for name, value in cost.items()}


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.4g}")


def _write(path: Path, text: str) -> None:
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")
