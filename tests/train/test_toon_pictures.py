"""What a toon model learns to draw from."""

from pathlib import Path

import pytest

from enliven.data.clips import load_clip
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
