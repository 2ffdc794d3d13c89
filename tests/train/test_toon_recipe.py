"""The recipe of the toon model: what it says, and what it refuses."""

from dataclasses import replace
from pathlib import Path

import pytest

from enliven.errors import RequestError
from enliven.systems import MODELS
from enliven.train.toon_recipe import Glimpses, Pictures, ToonRecipe
from toon_recipes import short_recipe


@pytest.fixture
def recipe(tmp_path: Path) -> ToonRecipe:
    return short_recipe("toon.toml", tmp_path)


def test_the_shipped_recipe_makes_a_shipped_model(recipe: ToonRecipe) -> None:
    assert recipe.model in MODELS
    assert min(budget.minutes for budget in (recipe.hearing, recipe.reading, recipe.autoencoder, recipe.backbone)) > 0


def test_a_backbone_that_hears_one_voice_is_given_no_groups(recipe: ToonRecipe) -> None:
    with pytest.raises(RequestError, match="soul-toon hears one voice"):
        replace(recipe, model="soul-toon")


@pytest.mark.parametrize("part", [(2, 2), (-1, 2), (0, 0)])
def test_a_part_that_is_not_there_is_refused(recipe: ToonRecipe, part: tuple[int, int]) -> None:
    with pytest.raises(RequestError, match="part"):
        replace(recipe, part=part)


@pytest.mark.parametrize("pictures", [Pictures(0, 0.1), Pictures(5, 0.9), Pictures(5, -0.1)])
def test_shares_that_cannot_be_are_refused(recipe: ToonRecipe, pictures: Pictures) -> None:
    """All others are 0.47 of the batches."""
    replace(recipe, pictures=Pictures(5, 0.5))
    with pytest.raises(RequestError, match="pictures"):
        replace(recipe, pictures=pictures)


@pytest.mark.parametrize("glimpses", [Glimpses(2, 0.5), Glimpses(13, 0.5), Glimpses(5, 1.5), Glimpses(5, -0.5)])
def test_glimpses_of_nothing_new_or_longer_than_clips_are_refused(tmp_path: Path, glimpses: Glimpses) -> None:
    """Two latent frames of soul-toon are those that a clip goes on from."""
    soul = short_recipe("soul.toml", tmp_path)
    for frames in (3, 12):
        replace(soul, glimpses=Glimpses(frames, 0.5))
    with pytest.raises(RequestError, match="glimpses of"):
        replace(soul, glimpses=glimpses)
