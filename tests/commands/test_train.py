"""``enliven train`` before any training begins."""

from dataclasses import replace
from pathlib import Path

import pytest

from enliven import config
from enliven.cli import run
from enliven.commands.train import flags
from enliven.train.backbones import LoraChoice
from enliven.train.recipe import BackboneRecipe

EXAMPLES = Path(__file__).parents[2] / "examples"
RECIPE = EXAMPLES / "toon.toml"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--stage", "bakcbone"], "backbone"),
        (["--set", "backbone.minuts=1"], "did you mean 'minutes'"),
        (["--set", "clips=many"], "clips"),
    ],
)
def test_a_recipe_is_refused_before_anything_is_written(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["train", str(RECIPE), *arguments]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--set", "pace.stepz=3"], 2, "did you mean 'steps'"),
        (["--stage", "hearing", "--set", "device=cpu"], 2, "the stages are texts, backbone"),
        (["--set", "kind=beckbone"], 2, "kind"),
        (["--set", "device=cpu"], 1, "weights/soul"),
    ],
)
def test_a_recipe_of_a_backbone_is_refused_as_well(
    arguments: list[str],
    code: int,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["train", str(EXAMPLES / "soul-full.toml"), *arguments]) == code
    assert told in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--set", "widht=3"], 2, "did you mean 'width'"),
        (["--set", "crops.frame=3"], 2, "did you mean 'frames'"),
        (["--set", "adversarial=-1"], 2, "adversarial is -1"),
        (["--set", "measured=0"], 2, "measured is 0"),
        (["--stage", "backbone", "--set", "device=cpu"], 2, "a decoder learns in one"),
        (["--set", "device=cpu"], 1, "weights/soul"),
    ],
)
def test_a_recipe_of_a_decoder_is_refused_as_well(
    arguments: list[str],
    code: int,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["train", str(EXAMPLES / "soul-evae.toml"), *arguments]) == code
    assert told in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


def test_the_command_for_a_lora_names_the_model_that_it_has_learnt_beside() -> None:
    values = config.read(EXAMPLES / "longcat-lora.toml") | {"model": "longcat-toon"}
    del values["weights"]
    recipe = config.parse(BackboneRecipe, values)
    assert flags(recipe) == ["--model", "longcat-toon", "--lora", str(recipe.result)]
    assert flags(replace(recipe, lora=LoraChoice())) == ["--weights", str(recipe.result)]
