import json
import shutil
from pathlib import Path

import torch

from enliven.bench.ablation_index import write_index
from enliven.bench.codebook import MODEL, checks, title_of
from enliven.bench.codebook_drift import Drift
from enliven.bench.report import Section, write_report

CLAIMS = [
    {"says": "it helps", "difference": 1.0, "margin": 0.25, "verdict": "shown"},
    {"says": "it harms", "difference": None, "margin": None, "verdict": "not measured"},
]


def report(benchmarks: Path, colour: float) -> Path:
    """One clip's drift without a codebook, and half of it with one."""
    one, none = torch.ones(1), torch.zeros(0)
    drifts = {
        variant: Drift(one * colour * share, one, one * (1 - share / 10), one, none)
        for variant, share in (("none", 1.0), ("99", 0.5))
    }
    parts = [Section(title_of(variant), checks(drift, variant)) for variant, drift in drifts.items()]
    return write_report(parts, benchmarks, f"{MODEL} codebook")


def index(tmp_path: Path) -> str:
    folder = tmp_path / "docs" / "pages"
    folder.mkdir(parents=True)
    (folder / "name.json").write_text(json.dumps({"claims": CLAIMS, "sample": "3 people"}))
    write_index(folder, {"name": "A title", "other": "Another"}, tmp_path / "benchmarks")
    return (folder / "index.md").read_text()


def test_claims_are_listed_with_what_became_of_them(tmp_path: Path) -> None:
    (tmp_path / "benchmarks").mkdir()
    told = index(tmp_path)
    assert "| [A title](name.md) | it helps | +1 ± 0.25 | 3 people | shown |" in told
    assert "| [A title](name.md) | it harms |  | 3 people | not measured |" in told
    assert "| Another (`other`) | | | | not measured yet |" in told
    assert "codebook-" not in told


def test_the_newest_report_on_the_codebook_has_a_row_for_each_claim_and_one_person_is_not_sure(tmp_path: Path) -> None:
    benchmarks = tmp_path / "benchmarks"
    old = report(benchmarks, colour=8.0).with_suffix(".json")
    shutil.move(old, benchmarks / f"2001-01-01-{MODEL}-codebook.json")
    page = report(benchmarks, colour=2.0)
    told = index(tmp_path)
    link = f"[A codebook against drift](../../benchmarks/{page.name})"
    assert f"| {link} | over minutes, colours deviate without a codebook | +1 | 1 person | undecided |" in told
    assert f"| {link} | over minutes, details are lost without a codebook | +0.05 | 1 person | undecided |" in told
