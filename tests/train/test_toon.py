"""The recipe of the toon model: what it says and how its stages go on."""

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from enliven import config
from enliven.data.clips import load_clip
from enliven.errors import RequestError
from enliven.models.networks import save_network
from enliven.systems import MODELS
from enliven.toonworld.voice import SHIPPED
from enliven.train.toon import STAGES, ToonRecipe, train_toon
from enliven.types import Progress
from tiny import tiny_networks

EXAMPLE = Path(__file__).parents[2] / "examples" / "toon.toml"


@pytest.fixture
def recipe(tmp_path: Path) -> ToonRecipe:
    """The shipped recipe, two clips long, with shipped sentences in place of new ones."""
    shipped = config.parse(ToonRecipe, config.read(EXAMPLE))
    (tmp_path / "speech").mkdir()
    for name in ("ciao.flac", "ciao.json"):
        shutil.copy(SHIPPED / name, tmp_path / "speech")
    return replace(shipped, folder=tmp_path, weights=tmp_path / "weights", clips=2, frames=9)


def test_the_shipped_recipe_makes_a_shipped_model(recipe: ToonRecipe) -> None:
    assert recipe.model in MODELS
    assert min(budget.minutes for budget in (recipe.hearing, recipe.reading, recipe.autoencoder, recipe.backbone)) > 0


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


def test_an_unknown_stage_is_refused_before_any_other_runs(recipe: ToonRecipe) -> None:
    with pytest.raises(RequestError, match="painting") as caught:
        train_toon(recipe, ["drawing", "painting"])
    assert all(name in caught.value.hint for name in STAGES)
    assert not (recipe.folder / "clips").exists()


def test_clips_are_encoded_once_and_again_by_other_encoders(recipe: ToonRecipe) -> None:
    networks = tiny_networks()
    for name in ("autoencoder", "audio"):
        save_network(getattr(networks, name), recipe.weights / name)
    train_toon(recipe, ["drawing", "encoding"])
    paths = sorted((recipe.folder / "encoded").glob("*.safetensors"))
    assert len(paths) == 2

    def encoded() -> list[int]:
        return [path.stat().st_mtime_ns for path in paths]

    once = encoded()
    train_toon(recipe, ["encoding"])
    assert encoded() == once
    later = time.time() + 60
    os.utime(next((recipe.weights / "audio").iterdir()), (later, later))
    train_toon(recipe, ["encoding"])
    assert all(new != old for new, old in zip(encoded(), once, strict=True))
