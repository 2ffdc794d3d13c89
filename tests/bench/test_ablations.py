import json
import logging
from pathlib import Path

import pytest
import torch

from enliven.bench import ablation_videos
from enliven.bench.ablation_recipe import Ablation, Claim, Variant
from enliven.bench.ablations import found, run_ablation
from enliven.errors import ConfigError
from enliven.models.networks import save_networks
from enliven.systems import MODELS
from enliven.train.ablation_lessons import Lesson
from enliven.train.ablations import Teaching
from enliven.train.logbook import Logbook
from enliven.train.made_from import note_made_from
from tiny import tiny_networks, tiny_spec

VARIANTS = (Variant("keep", carry="keep"), Variant("again", carry="encode again"), Variant("later", taught="lesson"))
CLAIM = Claim("it drifts", "colour, levels from the first clip", "again", "keep")


@pytest.fixture
def tiny_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tiny", tiny_spec())
    monkeypatch.setenv("ENLIVEN_WEIGHTS", str(tmp_path / "models"))
    save_networks(tiny_networks(), tmp_path / "models" / "tiny", torch.float32)


@pytest.mark.usefixtures("tiny_model")
def test_an_ablation_becomes_a_page_and_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ablation = Ablation("t", "p", "c", "drift", VARIANTS, (CLAIM,), model="tiny", people=1, seconds=1.64, costs=True)
    page = run_ablation("name", ablation, tmp_path / "runs", tmp_path / "out")
    assert page is not None
    data = json.loads(page.with_suffix(".json").read_text())
    assert set(data["numbers"]) == {"keep", "again"}
    assert set(data["missing"]) == {"later"}
    assert data["numbers"]["keep"]["passes of the backbone for a clip"] == [4.0]
    monkeypatch.setattr(ablation_videos, "start", lambda *_, **__: pytest.fail("made again"))
    again = run_ablation("name", ablation, tmp_path / "runs", tmp_path / "out")
    assert again is not None
    assert json.loads(again.with_suffix(".json").read_text())["numbers"] == data["numbers"]


@pytest.mark.usefixtures("tiny_model")
def test_what_was_taught_by_another_recipe_is_refused_before_a_video_is_made(tmp_path: Path) -> None:
    taught = tmp_path / "runs" / "name" / "taught"
    save_networks(tiny_networks(1), taught / "lesson", torch.float32)
    note_made_from(taught / "lesson", {"settings": "others", "lesson": "another"})
    ablation = Ablation("t", "p", "c", "drift", VARIANTS, model="tiny", people=1, seconds=1.0)
    teaching = Teaching((Lesson("lesson"),), "tiny")
    with pytest.raises(ConfigError, match=r"lesson was made from other settings and lesson$"):
        run_ablation("name", ablation, tmp_path / "runs", tmp_path / "out", teaching)
    assert not (tmp_path / "runs" / "name" / "videos").exists()


@pytest.mark.usefixtures("tiny_model")
def test_losses_are_those_of_the_lesson_of_a_variant(tmp_path: Path) -> None:
    taught = tmp_path / "runs" / "name" / "taught"
    save_networks(tiny_networks(1), taught / "lesson", torch.float32)
    (taught / "lesson training").mkdir()
    Logbook(taught / "lesson training").write(10, 1.0, [{"flow": 0.5}])
    told = {}
    for losses in (True, False):
        asked = Ablation("t", "p", "c", "drift", VARIANTS[1:], model="tiny", people=1, seconds=1.0, losses=losses)
        page = run_ablation("name", asked, tmp_path / "runs", tmp_path / "out")
        assert page is not None
        told[losses] = json.loads(page.with_suffix(".json").read_text())["losses"]
    assert told == {True: {"later": {"10": 0.5}}, False: {}}


@pytest.mark.usefixtures("tiny_model")
def test_nothing_is_written_where_there_is_nothing_to_compare(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    alone = Ablation("t", "p", "c", "drift", VARIANTS[1:], model="tiny", people=1, seconds=1.0)
    with caplog.at_level(logging.WARNING):
        assert run_ablation("name", alone, tmp_path / "runs", tmp_path / "out") is None
    assert "later is left out" in caplog.text
    assert not (tmp_path / "out").exists()


def test_ablations_are_found_by_name() -> None:
    files = Path(__file__).parents[2] / "examples" / "ablations"
    assert list(found(["reference"], files)) == ["reference"]
    assert len(found([], files)) == len(list(files.glob("*.toml")))
    with pytest.raises(ConfigError, match="no ablation 'refrence'"):
        found(["refrence"], files)
