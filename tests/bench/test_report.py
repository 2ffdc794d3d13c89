import json
from pathlib import Path

import pytest
from PIL import Image

from enliven.bench.cards import CARD
from enliven.bench.report import Check, Section, write_report


@pytest.mark.parametrize(
    ("check", "passed", "target"),
    [
        (Check("c", 0.8, least=0.8), True, "≥ 0.8"),
        (Check("c", 0.79, least=0.8), False, "≥ 0.8"),
        (Check("c", -2, least=-1, most=1), False, "-1 to 1"),
        (Check("c", 0.3, most=0.2), False, "≤ 0.2"),
        (Check("c", float("nan"), most=0.2), False, "≤ 0.2"),
        (Check("c", 5.0), True, ""),
    ],
)
def test_a_check_lies_within_its_bounds_or_fails(check: Check, passed: bool, target: str) -> None:
    assert check.passed is passed
    assert check.target == target


def test_the_report_is_a_page_and_data_with_pictures(tmp_path: Path) -> None:
    good = Section(
        "First", [Check("speed", 1.5, most=2.0, unit="s")], {"more": [1, 2]}, {"plot": Image.new("RGB", (9, 9))}
    )
    bad = Section("Second", [Check("truth", 0.1, least=0.8)], note="seen from afar")
    page = write_report([good, bad], tmp_path, "a model")
    text = page.read_text()
    assert "| speed | 1.5 s | ≤ 2 | pass |" in text
    assert "| truth | 0.1  | ≥ 0.8 | **fail** |" in text
    assert "| **First** | | | |" in text
    assert "| **Second** (seen from afar) | | | |" in text
    data = json.loads(page.with_suffix(".json").read_text())
    assert data["passed"] is False
    assert data["parts"]["First"]["checks"]["speed"] == {"value": 1.5, "unit": "s", "target": "≤ 2", "passed": True}
    assert {"command", "commit", "date", "hardware", "versions"} <= data["about"].keys()
    (picture,) = tmp_path.glob("*.png")
    assert f"]({picture.name})" in text


def test_finished_parts_are_kept_when_a_later_one_breaks(tmp_path: Path) -> None:
    def parts():  # type: ignore[no-untyped-def]
        yield Section("First", [Check("speed", 1.5)])
        raise RuntimeError("no power")

    with pytest.raises(RuntimeError):
        write_report(parts(), tmp_path, "a model")
    (data,) = tmp_path.glob("*.json")
    assert list(json.loads(data.read_text())["parts"]) == ["First"]


def test_the_cards_tell_of_a_report_as_soon_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "weights" / "longcat-toon").mkdir(parents=True)
    card = tmp_path / "weights" / "longcat-toon" / CARD
    places = {"weights": tmp_path / "weights", "root": tmp_path}

    def stopped():  # type: ignore[no-untyped-def]
        yield Section("First", [Check("speed", 1.5)])
        raise RuntimeError("no power")

    (tmp_path / "benchmarks").mkdir()
    write_report([Section("First", [Check("speed", 0.5)])], tmp_path / "elsewhere", "longcat-toon", **places)
    assert not card.exists()
    for folder, value in ((tmp_path / "benchmarks", 2.5), (tmp_path / "benchmarks" / "speed", 3.5)):
        write_report([Section("First", [Check("speed", value)], note="in haste")], folder, "longcat-toon", **places)
        assert f"| **First** (in haste) | | | |\n| speed | {value} |" in card.read_text(encoding="utf-8")
    with pytest.raises(RuntimeError):
        write_report(stopped(), tmp_path / "benchmarks", "longcat-toon", **places)
    assert "| speed | 1.5 |" in card.read_text(encoding="utf-8")
    assert "| speed | 2.5 |" not in card.read_text(encoding="utf-8")
