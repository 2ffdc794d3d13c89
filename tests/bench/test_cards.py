"""The cards beside the weights say what ships, and what was measured."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from enliven.bench.cards import (
    CARD,
    JUDGES,
    ROOT,
    Report,
    card,
    find_recipe,
    find_reports,
    judges_card,
    shipped,
    write_cards,
)
from enliven.judges.face import FaceJudge
from enliven.judges.quality import QualityJudge
from enliven.systems import MODELS, find_model
from enliven.systems.spec import PACKAGED

ROW = re.compile(r"^\| (?P<name>[^|*]+) \| (?P<value>[^|]+) \| (?P<target>[^|]*) \| (?P<mark>[^|]*) \|$", re.MULTILINE)
LINK = re.compile(r"\[`(benchmarks/[^`]+)`\]")


@pytest.mark.parametrize("name", [*(spec.name for spec in shipped()), JUDGES])
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


def test_the_card_of_the_judges_has_the_numbers_of_the_notes_it_cites() -> None:
    text = (PACKAGED / JUDGES / CARD).read_text(encoding="utf-8")
    for judge, told in ((FaceJudge, "| mouth_open correlation |"), (QualityJudge, "| latents, mosaic |")):
        section = text.split(f"## `{judge.name}`, measured on ")[1].split("## ")[0]
        (cited,) = LINK.findall(section)
        rows = [line for line in section.splitlines() if line.startswith("|")]
        assert any(row.startswith(told) for row in rows)
        assert set(rows) <= set((ROOT / cited).read_text(encoding="utf-8").splitlines())
    assert "clean face accuracy" not in text, "that was another judge's"
    assert text.rstrip().endswith("Apache-2.0, as the code.")


def test_a_card_tells_judges_that_changed_after_they_were_measured(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        who = ["-c", "user.name=x", "-c", "user.email=x@y", "-c", "commit.gpgsign=false"]
        made = subprocess.run(["git", "-C", str(tmp_path), *who, *words], capture_output=True, text=True, check=True)
        return made.stdout.strip()

    folder, weights = tmp_path / "weights", {"a": torch.ones(2, 3)}
    folder.mkdir()
    (tmp_path / "benchmarks").mkdir()
    save_file(weights, folder / f"{FaceJudge.name}.safetensors")
    git("init")
    git("add", "weights")
    git("commit", "-m", "weights")
    first = git("rev-parse", "--short", "HEAD")
    note = f"- commit: {first}\n\n| measure | drawn |\n| --- | --- |\n| yaw correlation | 0.9 |\n"
    (tmp_path / "benchmarks" / "2026-01-01-judges.md").write_text(note)
    now = judges_card(folder, tmp_path)
    assert f"came with commit {first}" in now
    assert "| yaw correlation | 0.9 |" in now
    assert "changed after" not in now
    save_file({"a": torch.zeros(2, 3)}, folder / f"{FaceJudge.name}.safetensors")
    (folder / "config.json").write_text("{}")
    git("add", "weights")
    git("commit", "-m", "other weights")
    second = git("rev-parse", "--short", "HEAD")
    (folder / "config.json").write_text('{"taught_with": {}}')
    git("commit", "-am", "what is said of them")
    later = judges_card(folder, tmp_path)
    assert "The weights changed after this was measured" in later
    assert f"came with commit {second}" in later, "what is said beside weights changes none"


def test_the_recipe_of_a_model_is_found() -> None:
    for name, file in (("longcat-toon", "toon"), ("soul-toon", "soul"), ("soul-toon-4step", "distill-soul")):
        found = find_recipe(name, ROOT / "examples")
        assert found is not None
        assert found[0].stem == file


def _beside_history(text: str) -> list[str]:
    """Without what only git knows: it is told once a change is committed."""
    told = ("came with commit", "weights changed after")
    return [line for line in text.splitlines() if not any(each in line for each in told)]


@pytest.mark.parametrize("model", [spec.name for spec in MODELS.values() if (PACKAGED / spec.name).is_dir()])
def test_a_shipped_card_is_as_it_would_be_written_now(model: str) -> None:
    """Behind a change of a recipe or a report: python -m enliven.bench.cards."""
    text = (PACKAGED / model / "README.md").read_text(encoding="utf-8")
    assert _beside_history(text) == _beside_history(card(find_model(model), PACKAGED / model))
    _, recipe = find_recipe(model, ROOT / "examples") or (None, {})
    tables = [name for name, value in recipe.items() if isinstance(value, dict)]
    assert not [name for name in tables if f"- {name}: " not in text]


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
    (tmp_path / "weights" / JUDGES).mkdir()
    assert write_cards(tmp_path / "weights", tmp_path) == [written, tmp_path / "weights" / JUDGES / CARD]
