"""Clips of the drawn world are encoded once, by several processes if asked for."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from enliven.data.encoded import load_encoded
from enliven.models.networks import save_network
from enliven.train.toon import train_toon
from enliven.train.toon_recipe import Groups, ToonRecipe
from tiny import tiny_networks
from toon_recipes import short_recipe


@pytest.fixture
def recipe(tmp_path: Path) -> ToonRecipe:
    return short_recipe("toon.toml", tmp_path)


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
