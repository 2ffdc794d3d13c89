import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from enliven.bench.ablation_measures import Observed
from enliven.bench.ablation_page import verdict, write_page
from enliven.bench.ablation_pictures import Result
from enliven.bench.ablation_recipe import Ablation, Claim, Variant

FRAMES = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
CLAIM = Claim("with is more", "m", "with", "without")


def result(*numbers: float, cost: float = 3.0) -> Result:
    """One number for each of two clips of a person, around the mean of that person."""
    seen = [Observed({"m": [number - 5, number + 5]}, {"m": [0.0, 1.0]}) for number in numbers]
    return Result(seen, FRAMES, {"cost": cost})


@pytest.mark.parametrize(
    ("more", "less", "said"),
    [
        ((2.0, 3.0, 4.0), (1.0, 2.1, 2.9), "shown"),
        ((1.0, 2.1, 2.9), (2.0, 3.0, 4.0), "the opposite"),
        ((1.0, 2.0, 3.0), (2.0, 1.0, 3.0), "undecided"),
        ((3.0, 4.0, 5.0), (2.0, 2.0, 2.0), "undecided"),
        ((9.0,), (1.0,), "undecided"),
    ],
)
def test_differences_are_judged_person_by_person(more: tuple[float, ...], less: tuple[float, ...], said: str) -> None:
    assert verdict(CLAIM, {"with": result(*more), "without": result(*less)}).word == said


def test_what_was_not_made_is_not_judged() -> None:
    said = verdict(CLAIM, {"with": result(1.0)})
    assert math.isnan(said.difference)
    assert said.word == "not measured"


def test_the_page_says_what_the_paper_says_and_what_was_found(tmp_path: Path) -> None:
    ablation = Ablation("A title", "Paper 1", "It helps.", "drift", (Variant("with"), Variant("without")), (CLAIM,))
    results = {"with": result(2.0, 3.0, 4.0), "without": result(1.0, 2.1, 2.9, cost=1.5)}
    page = write_page("name", ablation, results, {"third": "no weights"}, tmp_path)
    text = page.read_text()
    assert "| with is more | m: with over without | +1 ± 0.25 | shown |" in text
    assert "| m | 3 ± 0.6 | 2 ± 0.6 |" in text
    assert "| cost | 3 | 1.5 |" in text
    assert "| cost: so many times less | 1 | 2 |" in text
    assert "**third** is missing: no weights" in text
    for picture in ("measures", "frames", "curves"):
        assert f"(name-{picture}.png)" in text
        assert (tmp_path / f"name-{picture}.png").exists()
    assert "each of the 3 people counts once" in text
    data = json.loads((tmp_path / "name.json").read_text())
    assert data["claims"][0] == {"says": "with is more", "difference": 1.0, "margin": 0.2484, "verdict": "shown"}
    assert data["sample"] == "3 people"
    assert data["numbers"]["with"]["m"] == [2.0, 3.0, 4.0]


def test_losses_of_lessons_are_shown_where_there_are_any(tmp_path: Path) -> None:
    ablation = Ablation("t", "p", "c", "drift", (Variant("with"), Variant("without")), (CLAIM,))
    plain = {"with": result(2.0), "without": result(1.0)}
    assert "loss of the lesson" not in write_page("name", ablation, plain, {}, tmp_path).read_text()
    taught = replace(plain["with"], losses={10: 4.0, 20: 3.0, 30: 2.5, 40: 2.25})
    page = write_page("name", ablation, plain | {"with": taught}, {}, tmp_path)
    text = page.read_text()
    assert "| loss of the lesson, step 10 | 4 |  |" in text
    assert "| loss of the lesson, step 40 | 2.25 |  |" in text
    assert "(name-losses.png)" in text
    assert json.loads(page.with_suffix(".json").read_text())["losses"] == {
        "with": {"10": 4, "20": 3, "30": 2.5, "40": 2.25}
    }


def test_places_without_people_are_called_so(tmp_path: Path) -> None:
    ablation = Ablation("t", "p", "c", "scenery", (Variant("with"), Variant("without")), (CLAIM,), shows="sights")
    text = write_page("name", ablation, {"with": result(2.0), "without": result(1.0)}, {}, tmp_path).read_text()
    assert "place by place" in text
    assert "| +1 | undecided |" in text
