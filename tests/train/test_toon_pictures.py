"""What a toon model learns to draw from."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from enliven.data.clips import load_clip
from enliven.errors import RequestError
from enliven.systems.spec import PACKAGED
from enliven.train import toon_pictures
from enliven.train.toon import train_toon
from enliven.train.toon_recipe import ToonRecipe
from enliven.types import Progress
from toon_recipes import short_recipe


@pytest.fixture
def recipe(tmp_path: Path) -> ToonRecipe:
    return short_recipe("toon.toml", tmp_path)


def test_a_stage_draws_what_is_missing_and_tells_its_name(recipe: ToonRecipe) -> None:
    heard: list[Progress] = []
    train_toon(recipe, ["drawing"], heard.append)
    paths = sorted((recipe.folder / "clips").glob("*.safetensors"))
    assert [len(load_clip(path).frames) for path in paths] == [9, 9]
    assert {progress.stage for progress in heard} == {"drawing"}
    kept = paths[0].stat().st_mtime_ns
    paths[1].unlink()
    train_toon(recipe, ["drawing"])
    assert paths[1].exists()
    assert paths[0].stat().st_mtime_ns == kept


def test_an_efficient_decoder_may_have_to_look_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    monkeypatch.setattr(toon_pictures, "train_efficient", lambda *_, adversarial: asked.append(adversarial))
    recipe = replace(short_recipe("soul.toml", tmp_path), warm_start=True)
    for part in ("autoencoder", "autoencoder-efficient"):
        shutil.copytree(PACKAGED / "soul-toon" / part, recipe.weights / part)
    train_toon(replace(recipe, frames=29), ["drawing"])
    for strength in (0.0, 0.05):
        train_toon(replace(recipe, adversarial=strength), ["efficient"])
    assert asked == [0.0, 0.05]


def test_a_decoder_cannot_be_asked_to_look_unreal(recipe: ToonRecipe) -> None:
    with pytest.raises(RequestError, match="adversarial is -1"):
        replace(recipe, adversarial=-1.0)
