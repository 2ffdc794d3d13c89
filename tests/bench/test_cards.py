"""The cards beside the weights say what ships, and what was measured."""

import json
import re
from pathlib import Path

import pytest

from enliven.bench.cards import CARD, ROOT, Report, card, find_recipe, find_reports, shipped, write_cards
from enliven.systems import MODELS
from enliven.systems.spec import PACKAGED

ROW = re.compile(r"^\| (?P<name>[^|*]+) \| (?P<value>[^|]+) \| (?P<target>[^|]*) \| (?P<mark>[^|]*) \|$", re.MULTILINE)
LINK = re.compile(r"\[`(benchmarks/[^`]+)`\]")


@pytest.mark.parametrize("name", [spec.name for spec in shipped()])
def test_a_card_names_every_file_that_ships(name: str) -> None:
    folder = PACKAGED / name
    told = set(re.findall(r"`([^`\s]+\.(?:safetensors|json))`", (folder / CARD).read_text(encoding="utf-8")))
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.name != CARD}
    assert there <= told
    assert {each for each in told if not each.startswith("benchmarks/")} <= there


@pytest.mark.parametrize("name", [spec.name for spec in shipped()])
def test_the_numbers_of_a_card_are_those_of_the_reports_it_cites(name: str) -> None:
    text = (PACKAGED / name / CARD).read_text(encoding="utf-8")
    measured = text.split("## Measured on ")[1:]
    assert len(measured) == len(find_reports(name, ROOT / "benchmarks"))
    for section in measured:
        (cited,) = LINK.findall(section)
        report = Report(ROOT / cited, json.loads((ROOT / cited).read_text(encoding="utf-8")))
        assert report.about["subject"] == name
        assert section.startswith(report.about["date"])
        rows = [(row["name"].strip(), row["value"].strip()) for row in ROW.finditer(section.split("## ")[0])]
        want = [(name, f"{check['value']} {check['unit']}".strip()) for _, name, check in report.checks()]
        assert rows == want


def test_the_recipe_of_a_model_is_found() -> None:
    for name, file in (("longcat-toon", "toon"), ("soul-toon", "soul"), ("soul-toon-4step", "distill-soul")):
        found = find_recipe(name, ROOT / "examples")
        assert found is not None
        assert found[0].stem == file


def test_the_newest_report_counts_and_missed_targets_are_told(tmp_path: Path) -> None:
    check = {"value": 0.5, "unit": "s", "target": "≥ 0.8", "passed": False}
    for day, value in (("2026-01-01", 0.4), ("2026-01-02", 0.5)):
        about = {"subject": "soul-toon", "date": day, "command": "`x`", "commit": "none", "hardware": "a laptop"}
        data = {"about": about, "parts": {"Part": {"checks": {"truth": check | {"value": value}}}}}
        (tmp_path / "benchmarks").mkdir(exist_ok=True)
        (tmp_path / "benchmarks" / f"{day}-soul-toon.json").write_text(json.dumps(data))
    text = card(MODELS["soul-toon"], PACKAGED / "soul-toon", tmp_path)
    assert "| truth | 0.5 s | ≥ 0.8 | **fail** |" in text
    assert "0.4" not in text.split("## Measured")[1].split("## ")[0]
    assert "missed: truth." in text


def test_a_card_tells_the_lessons_and_the_clips_of_a_student(tmp_path: Path) -> None:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "examples").mkdir()
    recipe = """model = "soul-toon-4step"
weights = "soul-toon-4step"
imitating = 15.0
minutes = 0.0
imitation_rate = 3e-4
ratio = 5
clips = [{ folder = "a", share = 0.55 }, { folder = "b", people = 2, share = 0.45 }]
"""
    (tmp_path / "examples" / "distill.toml").write_text(recipe)
    text = card(MODELS["soul-toon-4step"], PACKAGED / "soul-toon", tmp_path).split("stands now:\n\n")[1]
    assert text.split("\n\n")[0].splitlines() == [
        "- imitation: 15 minutes",
        "- clips of one person: 55% of the batches",
        "- clips of two people: 45% of the batches",
        "- imitation_rate: 0.0003",
    ], "nothing of the lesson that is left out"
    (tmp_path / "examples" / "distill.toml").write_text(recipe.replace("minutes = 0.0\n", ""))
    text = card(MODELS["soul-toon-4step"], PACKAGED / "soul-toon", tmp_path)
    assert "- ratio: 5" in text, "an hour of it where nothing is said"


def test_cards_are_written_for_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "weights" / "longcat-toon").mkdir(parents=True)
    (tmp_path / "benchmarks").mkdir()
    (written,) = write_cards(tmp_path / "weights", tmp_path)
    assert written == tmp_path / "weights" / "longcat-toon" / CARD
    assert "Nothing yet" in written.read_text(encoding="utf-8")
