import json
import math
from pathlib import Path

import pytest
import torch

from enliven.bench.ablation_measures import Observed
from enliven.bench.ablation_page import verdict, write_index, write_page
from enliven.bench.ablation_pictures import Result
from enliven.bench.ablation_recipe import Ablation, Claim, Variant

FRAMES = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
CLAIM = Claim("with is more", "m", "with", "without")


def result(*numbers: float, cost: float = 3.0) -> Result:
    return Result([Observed({"m": list(numbers)}, {"m": [0.0, 1.0]})], FRAMES, {"cost": cost})


@pytest.mark.parametrize(
    ("more", "less", "said"),
    [
        ((2.0, 3.0, 4.0), (1.0, 2.1, 2.9), "shown"),
        ((1.0, 2.1, 2.9), (2.0, 3.0, 4.0), "the opposite"),
        ((1.0, 2.0, 3.0), (2.0, 1.0, 3.0), "undecided"),
        ((9.0,), (1.0,), "undecided"),
    ],
)
def test_differences_are_judged_clip_by_clip(more: tuple[float, ...], less: tuple[float, ...], said: str) -> None:
    assert verdict(CLAIM, {"with": result(*more), "without": result(*less)})[2] == said


def test_what_was_not_made_is_not_judged() -> None:
    mean, _, said = verdict(CLAIM, {"with": result(1.0)})
    assert math.isnan(mean)
    assert said == "not measured"


def test_the_page_says_what_the_paper_says_and_what_was_found(tmp_path: Path) -> None:
    ablation = Ablation("A title", "Paper 1", "It helps.", "drift", (Variant("with"), Variant("without")), (CLAIM,))
    results = {"with": result(2.0, 3.0, 4.0), "without": result(1.0, 2.1, 2.9, cost=1.5)}
    page = write_page("name", ablation, results, {"third": "no weights"}, tmp_path)
    text = page.read_text()
    assert "| with is more | m: with over without | +1 ± 0.058 | shown |" in text
    assert "| m | 3 ± 0.6 | 2 ± 0.6 |" in text
    assert "| cost | 3 | 1.5 |" in text
    assert "| cost: so many times less | 1 | 2 |" in text
    assert "**third** is missing: no weights" in text
    for picture in ("measures", "frames", "curves"):
        assert f"(name-{picture}.png)" in text
        assert (tmp_path / f"name-{picture}.png").exists()
    assert json.loads((tmp_path / "name.json").read_text())["claims"][0]["verdict"] == "shown"
    write_index(tmp_path, {"name": "A title", "other": "Another"})
    index = (tmp_path / "index.md").read_text()
    assert "| [A title](name.md) | with is more | shown |" in index
    assert "| Another (`other`) | | not measured yet |" in index
