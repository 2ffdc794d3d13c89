"""The recipe of the toon model: what it says and how its stages go on."""

import os
import shutil
import time
from dataclasses import fields, replace
from pathlib import Path

import pytest

from enliven import config
from enliven.data.clips import load_clip
from enliven.data.encoded import load_encoded
from enliven.errors import RequestError
from enliven.models.networks import load_networks, save_network
from enliven.pipeline import AvatarPipeline
from enliven.request import GenerateRequest
from enliven.systems import MODELS, find_model
from enliven.toonworld.voice import SHIPPED
from enliven.train.toon import STAGES, Budget, Groups, ToonRecipe, train_toon
from enliven.types import Progress
from tiny import tiny_networks

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def recipe(tmp_path: Path) -> ToonRecipe:
    return short("toon.toml", tmp_path)


def short(example: str, tmp_path: Path) -> ToonRecipe:
    """A shipped recipe, two clips of each kind long, with shipped sentences in place of new ones."""
    shipped = config.parse(ToonRecipe, config.read(EXAMPLES / example))
    (tmp_path / "speech").mkdir()
    for name in ("ciao", "bonjour", "guten-tag"):
        for suffix in ("flac", "json"):
            shutil.copy(SHIPPED / f"{name}.{suffix}", tmp_path / "speech")
    groups = {name: replace(each, clips=min(2, each.clips)) for name, _, each in shipped.groups}
    return replace(shipped, folder=tmp_path, weights=tmp_path / "weights", clips=2, frames=9, **groups)


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


@pytest.mark.slow
@pytest.mark.parametrize("example", ["toon.toml", "soul.toml"])
def test_every_stage_takes_steps_and_the_model_speaks(example: str, tmp_path: Path) -> None:
    """Networks of full toon size, one step each."""
    recipe = replace(short(example, tmp_path), frames=61, warm_start=False)
    budgets = {f.name: getattr(recipe, f.name) for f in fields(recipe) if isinstance(getattr(recipe, f.name), Budget)}
    hurried = {name: replace(each, minutes=each.minutes and 1e-6, batch=1) for name, each in budgets.items()}
    recipe = replace(recipe, **hurried, centroids=min(recipe.centroids, 8))
    train_toon(recipe, [stage for stage in STAGES if stage != "speech"])
    networks, spec = load_networks(recipe.weights), find_model(recipe.model)
    assert set(networks.decoders) == set(spec.params.decoders)
    assert (networks.codebook is not None) == bool(recipe.centroids)
    video = AvatarPipeline(spec, networks).generate(GenerateRequest(seconds=0.2, steps=1, prompt="A cartoon man."))
    assert video.frames.shape == (5, 3, *spec.size)


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
    paths = sorted(recipe.folder.glob("*encoded/*.safetensors"))
    assert [path.parent.name for path in paths] == ["encoded"] * 2 + ["pairs-encoded"] * 2 + ["trios-encoded"] * 2
    assert [len(load_encoded(path).audio) for path in paths] == [1, 1, 2, 2, 3, 3]

    def encoded() -> list[int]:
        return [path.stat().st_mtime_ns for path in paths]

    once = encoded()
    train_toon(recipe, ["encoding"])
    assert encoded() == once
    later = time.time() + 60
    os.utime(next((recipe.weights / "audio").iterdir()), (later, later))
    train_toon(recipe, ["encoding"])
    assert all(new != old for new, old in zip(encoded(), once, strict=True))


def test_processes_share_the_work(recipe: ToonRecipe) -> None:
    tiny = tiny_networks()
    for name in ("autoencoder", "audio"):
        save_network(getattr(tiny, name), recipe.weights / name)
    for part in range(2):
        alone = replace(recipe, clips=3, part=(part, 2), pairs=Groups(0, 0.0), trios=Groups(0, 0.0))
        train_toon(alone, ["drawing", "encoding"])
        drawn, encoded = recipe.folder / "clips", recipe.folder / "encoded"
        for folder in (drawn, encoded):
            assert len(list(folder.iterdir())) == (2, 3)[part]


def test_a_backbone_that_hears_one_voice_is_given_no_groups(recipe: ToonRecipe) -> None:
    with pytest.raises(RequestError, match="soul-toon hears one voice"):
        replace(recipe, model="soul-toon")


@pytest.mark.parametrize("part", [(2, 2), (-1, 2), (0, 0)])
def test_a_part_that_is_not_there_is_refused(recipe: ToonRecipe, part: tuple[int, int]) -> None:
    with pytest.raises(RequestError, match="part"):
        replace(recipe, part=part)
