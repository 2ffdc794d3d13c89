"""The page of an ablation: the paper's claim beside ours, a table, plots, pictures; the numbers as JSON beside it."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from enliven.bench.ablation_pictures import Result, curves_plot, frames_sheet, mean_and_error, measures_plot
from enliven.bench.ablation_recipe import Ablation, Claim
from enliven.bench.report import circumstances
from enliven.media.storage import replacing

SURE = 2.0  # standard errors


def verdict(claim: Claim, results: Mapping[str, Result]) -> tuple[float, float, str]:
    """The mean difference of what the claim compares, its standard error, and whether the sign is the paper's."""
    if not {claim.more, claim.less} <= set(results):
        return math.nan, math.nan, "not measured"
    more, less = (results[name].numbers[claim.measure] for name in (claim.more, claim.less))
    mean, error = mean_and_error([one - other for one, other in zip(more, less, strict=True)])
    if not abs(mean) > SURE * error:
        return mean, error, "undecided"
    return mean, error, "shown" if mean > 0 else "the opposite"


def write_page(
    name: str, ablation: Ablation, results: Mapping[str, Result], missing: Mapping[str, str], folder: Path
) -> Path:
    """Write ``folder/NAME.md``, its pictures and ``NAME.json``; returns the page. MissingExtra without matplotlib."""
    folder.mkdir(parents=True, exist_ok=True)
    about = circumstances(ablation.title)
    pictures = {"measures": measures_plot(results), "frames": frames_sheet(results)}
    if any(result.observed[0].curves for result in results.values()):
        pictures["curves"] = curves_plot(results)
    for kind, picture in pictures.items():
        with replacing(folder / f"{name}-{kind}.png") as path:
            picture.save(path, format="PNG", optimize=True)
    verdicts = [verdict(claim, results) for claim in ablation.claims]
    data = {
        "about": about,
        "claims": [
            {"says": claim.says, "difference": _plain(mean), "error": _plain(error), "verdict": word}
            for claim, (mean, error, word) in zip(ablation.claims, verdicts, strict=True)
        ],
        "numbers": {variant: result.numbers | _listed(result.cost) for variant, result in results.items()},
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
    verdicts: Sequence[tuple[float, float, str]],
    missing: Mapping[str, str],
    pictures: Mapping[str, Image.Image],
) -> list[str]:
    lines = [f"# {ablation.title}", "", f"**{ablation.paper}.** {ablation.claim}", ""]
    if ablation.claims:
        lines += ["| the paper says | measure | here, difference | sign |", "|---|---|---|---|"]
        for claim, (mean, error, word) in zip(ablation.claims, verdicts, strict=True):
            compared = f"{claim.measure}: {claim.more} over {claim.less}"
            difference = "" if math.isnan(mean) else f"{mean:+.3g} ± {error:.2g}"
            lines.append(f"| {claim.says} | {compared} | {difference} | {word} |")
        lines += [
            "",
            "*Shown* and *the opposite*: the mean difference, clip by clip, is more than two standard errors.",
            "",
        ]
    if ablation.remarks:
        lines += [ablation.remarks.strip(), ""]
    lines += _table(results)
    lines += [f"- **{variant}** is missing: {reason}" for variant, reason in missing.items()]
    lines += [""] * bool(missing)
    for kind in pictures:
        lines += [f"![{kind}]({name}-{kind}.png)", ""]
    return lines


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
    return [*lines, ""]


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    mean, error = mean_and_error(values)
    return f"{mean:.3g}" if math.isnan(error) else f"{mean:.3g} ± {error:.1g}"


def write_index(folder: Path, titles: Mapping[str, str]) -> None:
    """The list of all ablations, with the claims of those that were measured."""
    lines = ["# Ablations", "", "What the papers say that their parts do, and what the small models here show.", ""]
    lines += ["| ablation | the paper says | here |", "|---|---|---|"]
    for name, title in titles.items():
        if (folder / f"{name}.json").exists():
            claims = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["claims"]
            lines += [f"| [{title}]({name}.md) | {each['says']} | {each['verdict']} |" for each in claims]
        else:
            lines.append(f"| {title} (`{name}`) | | not measured yet |")
    lines += [
        "",
        "`make ablations` teaches and measures all of them, `python -m enliven.bench.ablations NAME` one.",
        "",
        "Whether the codebook keeps a long video from drifting (Soul 3.2, Fig. 7) has a report of its own:",
        "`python -m enliven.bench.codebook`, into `benchmarks/`.",
    ]
    _write(folder / "index.md", "\n".join(lines) + "\n")


def _listed(cost: Mapping[str, float]) -> dict[str, list[float]]:
    return {name: [value] for name, value in cost.items()}


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 5)


def _write(path: Path, text: str) -> None:
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")
