"""The list of all ablations with what became of their claims; the codebook, which has a report of its own, is in it."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from enliven.bench.cards import find_reports
from enliven.bench.codebook import MODEL, NONE, PERCENTILE, title_of
from enliven.bench.verdicts import Verdict, judge
from enliven.media.storage import replacing

CODEBOOK = "A codebook against drift"
WITH, WITHOUT = title_of(f"{PERCENTILE:g}"), title_of(NONE)
DRIFTS = (  # Soul 3.2, Fig. 7: what is said, of which measure, who has more, who has less
    ("over minutes, colours deviate without a codebook", "colour, away from the first clip", WITHOUT, WITH),
    ("over minutes, details are lost without a codebook", "sharpness, share of the first clip's", WITH, WITHOUT),
)
ENDING = """
Each claim is judged over the people, or places, that it was measured with; each counts once. Where a part did nothing
at all, one claim in twenty would have a sign all the same, by chance.

`make ablations` teaches and measures all of them, `python -m enliven.bench.ablations NAME` one. The codebook has a
report of its own, too, by `python -m enliven.bench.codebook`: one long video of one person, where no sign is sure.

**Kernels** have no row. Every line of Table 3 of Soul was measured with FlashAttention 2, so it does not say what a
kernel brings; and kernels are for GPUs, while all of this was measured on processors. `enliven doctor` lists them.
What has not run on a GPU yet is [said elsewhere](../explanation/architecture.md#what-is-not-here).
"""


def write_index(folder: Path, titles: Mapping[str, str], benchmarks: Path) -> None:
    """Write ``folder/index.md``: the ablations of these ``titles`` by name, and the newest report on the codebook."""
    lines = ["# Ablations", "", "What the papers say that their parts do, and what the small models here show.", ""]
    lines += ["| ablation | the paper says | here, difference | sample | sign |", "|---|---|---|---|---|"]
    for name, title in titles.items():
        lines += _rows(folder / f"{name}.json", title) or [f"| {title} (`{name}`) | | | | not measured yet |"]
    lines += codebook_rows(benchmarks, folder)
    with replacing(folder / "index.md") as part:
        part.write_text("\n".join(lines) + "\n" + ENDING, encoding="utf-8")


def codebook_rows(benchmarks: Path, folder: Path) -> Iterator[str]:
    """What the newest report says at the end of its video, as rows of a page in ``folder``; none without a report."""
    for report in find_reports(f"{MODEL}-codebook", benchmarks)[:1]:
        page = os.path.relpath(report.path.with_suffix(".md"), folder)
        parts = report.data["parts"]
        for says, measure, more, less in DRIFTS:
            one, other = (parts[part]["checks"][measure]["value"] for part in (more, less))
            yield _row(f"[{CODEBOOK}]({page})", says, judge([one - other]), "1 person")


def _rows(path: Path, title: str) -> list[str]:
    if not path.exists():
        return []
    data = json.loads(path.read_text(encoding="utf-8"))
    return [_row(f"[{title}]({path.stem}.md)", each["says"], _verdict(each), data["sample"]) for each in data["claims"]]


def _row(link: str, says: str, verdict: Verdict, sample: str) -> str:
    return f"| {link} | {says} | {verdict.numbers} | {sample} | {verdict.word} |"


def _verdict(claim: Mapping[str, Any]) -> Verdict:
    difference, margin = (math.nan if claim[key] is None else claim[key] for key in ("difference", "margin"))
    return Verdict(difference, margin, claim["verdict"])
