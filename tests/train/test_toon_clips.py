"""Clips of the drawn world are encoded once, by several processes if asked for."""

import os
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch

from enliven.data.clips import make_clip
from enliven.data.encoded import load_encoded
from enliven.data.groups import any_group
from enliven.models.networks import save_network
from enliven.systems import find_model
from enliven.systems.spec import PACKAGED
from enliven.toonworld.voice import SHIPPED, load_speech
from enliven.train.toon import train_toon
from enliven.train.toon_clips import PICTURES, mixed_batches, recorded
from enliven.train.toon_recipe import Budget, Glimpses, Groups, Pictures, ToonRecipe
from tiny import tiny_networks
from toon_recipes import short_recipe

SPEECH = [SHIPPED / f"{name}.flac" for name in ("ciao", "bonjour")]


@pytest.fixture
def recipe(tmp_path: Path) -> ToonRecipe:
    return short_recipe("toon.toml", tmp_path)


def test_clips_are_encoded_once_and_again_by_other_encoders(recipe: ToonRecipe) -> None:
    networks = tiny_networks()
    for name in ("autoencoder", "audio"):
        save_network(getattr(networks, name), recipe.weights / name)
    train_toon(recipe, ["drawing", "encoding"])
    paths = sorted(recipe.folder.glob("*encoded/*.safetensors"))
    kinds = ["encoded", "pairs-encoded", "pictures-encoded", "trios-encoded"]
    assert [path.parent.name for path in paths] == [kind for kind in kinds for _ in range(2)]
    assert [len(load_encoded(path).audio) for path in paths] == [1, 1, 2, 2, 1, 1, 3, 3]

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
        alone = replace(alone, pictures=Pictures(0, 0.0))
        train_toon(alone, ["drawing", "encoding"])
        drawn, encoded = recipe.folder / "clips", recipe.folder / "encoded"
        for folder in (drawn, encoded):
            assert len(list(folder.iterdir())) == (2, 3)[part]


def test_a_share_of_clips_sounds_recorded_and_looks_as_before() -> None:
    spoken = make_clip(3, load_speech("ciao"), frames=9, size=(16, 16))
    pair = any_group(3, SPEECH, people=2, frames=9)
    sight = replace(spoken, samples=torch.zeros(0))
    for clip in (spoken, pair, sight):
        assert recorded(clip, Random(1), share=0.0) is clip
    assert recorded(sight, Random(1), share=1.0) is sight
    noisy, voices = recorded(spoken, Random(1), share=1.0), recorded(pair, Random(1), share=1.0).voices
    assert noisy.frames is spoken.frames
    assert noisy.samples.shape == spoken.samples.shape
    assert voices.shape == pair.voices.shape
    assert not torch.allclose(noisy.samples, spoken.samples, atol=1e-3)
    assert not torch.allclose(voices, pair.voices, atol=1e-3)
    made = [recorded(spoken, Random(seed), share=0.3) is not spoken for seed in range(200)]
    assert 40 < sum(made) < 80


def test_glimpses_are_short_and_many(tmp_path: Path) -> None:
    """A clip of soul-toon has a pivot and 12 latent frames; with 5 of them 13 clips cost what 6 did."""
    glimpsing = replace(short_recipe("soul.toml", tmp_path), frames=61, glimpses=Glimpses(5, 0.5))
    glimpsing = replace(glimpsing, weights=PACKAGED / "soul-toon")
    train_toon(glimpsing, ["encoding"])
    batches = mixed_batches(glimpsing, Budget(0, 1e-3, batch=6))
    torch.manual_seed(0)
    sizes = {tuple(batches.make()["clip"].latents.shape[::2][:2]) for _ in range(20)}
    assert sizes == {(6, 13), (13, 6)}
    everything = mixed_batches(replace(glimpsing, glimpses=Glimpses(0, 0.0)), Budget(0, 1e-3, batch=6))
    assert {len(everything.make()["names"]) for _ in range(20)} == {6}


@pytest.mark.parametrize(("example", "model"), [("toon.toml", "longcat-toon"), ("soul.toml", "soul-toon")])
def test_pictures_are_of_others_and_nothing_of_them_is_given(tmp_path: Path, example: str, model: str) -> None:
    """Pictures have one latent frame: as many make a batch as cost what whole clips do."""
    nobody, shown = Groups(0, 0.0), Pictures(2, 1.0)
    recipe = replace(short_recipe(example, tmp_path), frames=61, glimpses=Glimpses(5, 0.0), pairs=nobody, trios=nobody)
    recipe = replace(recipe, weights=PACKAGED / model, pictures=shown)
    train_toon(recipe, ["encoding"])
    torch.manual_seed(0)
    batch = mixed_batches(recipe, Budget(0, 1e-3, batch=4)).make()
    assert batch["clip"].latents.shape[2] == len(batch["clip"].layout) == 1
    assert batch["given"].shape[2] == batch["clip"].layout.clean == 0
    geometry = find_model(model).geometry
    assert len(batch["names"]) == 4 * (geometry.latents(geometry.frames) + 1)
    assert batch["cond"].audio.abs().max() > 0
    captions = [{load_encoded(path).caption for path in (tmp_path / kind).iterdir()} for kind in (PICTURES, "encoded")]
    assert captions[0].isdisjoint(captions[1])
