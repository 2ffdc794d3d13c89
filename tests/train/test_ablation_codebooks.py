"""Codebooks for ablations, as folders that lie over a model."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from encoded_clips import write_clips
from enliven.bench.ablation_recipe import Ablation, Variant
from enliven.bench.ablation_videos import Videos
from enliven.errors import ConfigError
from enliven.models.layered import read_label
from enliven.models.networks import load_networks, save_networks
from enliven.systems import MODELS
from enliven.train import ablation_codebooks as module
from enliven.train.ablation_codebooks import fit_codebooks
from enliven.train.ablation_lessons import Lesson
from enliven.train.ablations import Teaching, teach
from enliven.train.codebook import CodebookRecipe
from tiny import tiny_soul, tiny_soul_networks

CELLS = CodebookRecipe(size=12, iterations=3)
RECIPES = {"equal": CELLS, "own": replace(CELLS, per_centroid=True), "patches": replace(CELLS, unit="patch")}


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(MODELS, "tiny-soul", tiny_soul())
    save_networks(tiny_soul_networks(0), tmp_path / "weights", torch.float32)
    return tmp_path / "weights"


def test_each_codebook_lies_over_the_weights_of_its_model(weights: Path, tmp_path: Path) -> None:
    data, taught = write_clips(tmp_path / "clips", channels=4), tmp_path / "taught"
    teach(Teaching(codebooks=RECIPES, model="tiny-soul"), [data], weights, taught)
    cells, own, patches = (load_networks(taught / name).codebook for name in RECIPES)
    assert cells is not None
    assert own is not None
    assert patches is not None
    assert (cells.params.per_centroid, own.params.per_centroid, patches.params.unit) == (False, True, "patch")
    assert torch.equal(cells.centroids, own.centroids)
    assert patches.centroids.shape == (12, 16)
    ablation = Ablation("t", "p", "c", "handovers", (Variant("a"),), model="tiny-soul")
    plain, other = (
        Videos(ablation, Variant("a", taught=name), tmp_path / "runs", taught) for name in ("equal", "patches")
    )
    assert plain.folder != other.folder
    changed = tiny_soul_networks(1)
    save_networks(changed, weights, torch.float32)  # new weights come under a codebook that is there
    assert all(
        torch.equal(value, changed.backbone.state_dict()[name])
        for name, value in load_networks(taught / "own").backbone.state_dict().items()
    )
    assert Videos(ablation, Variant("a", taught="equal"), tmp_path / "runs", taught).folder != plain.folder


def test_centroids_are_found_once_and_codebooks_that_are_there_stay(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, told = write_clips(tmp_path / "clips", channels=4), list[str]()
    cells = {name: RECIPES[name] for name in ("equal", "own")}

    def fit(name: str) -> list[str]:
        told.clear()
        only = {name: cells[name]}
        fit_codebooks(only, "tiny-soul", data, weights, tmp_path / "taught", lambda said: told.append(said.stage))
        return told

    first, second = fit("equal").count("k-means"), fit("own").count("k-means")
    assert first > second > 0
    monkeypatch.setattr(module, "fit_codebook", lambda *_, **__: pytest.fail("fitted again"))
    fit("equal")


def test_a_codebook_that_is_there_lies_over_the_weights_that_are_given_last(weights: Path, tmp_path: Path) -> None:
    data, only = write_clips(tmp_path / "clips", channels=4), {"equal": RECIPES["equal"]}
    save_networks(tiny_soul_networks(1), tmp_path / "other", torch.float32)
    for over in (weights, tmp_path / "other"):
        fit_codebooks(only, "tiny-soul", data, over, tmp_path / "taught")
        label = read_label(tmp_path / "taught" / "equal")
        assert label is not None
        assert (tmp_path / "taught" / "equal" / label.over).resolve() == over.resolve()


@pytest.mark.parametrize("changed", ["settings", "clips"])
def test_a_codebook_of_other_settings_or_clips_is_not_taken_for_this(
    weights: Path, tmp_path: Path, changed: str
) -> None:
    data, recipe = write_clips(tmp_path / "clips", channels=4), RECIPES["equal"]
    fit_codebooks({"equal": recipe}, "tiny-soul", data, weights, tmp_path / "taught")
    if changed == "clips":
        sorted(data.glob("*.safetensors"))[0].unlink()
    else:
        recipe = replace(recipe, iterations=2)
    with pytest.raises(ConfigError, match=rf"equal was made from other {changed}$"):
        fit_codebooks({"equal": recipe}, "tiny-soul", data, weights, tmp_path / "taught")


def test_clips_of_several_folders_are_refused_before_anything_is_taught(weights: Path, tmp_path: Path) -> None:
    teaching = Teaching((Lesson("usual"),), codebooks=RECIPES, model="tiny-soul")
    with pytest.raises(ConfigError, match="one folder of clips, not on 2"):
        teach(teaching, [tmp_path, tmp_path], weights, tmp_path / "taught")
    assert not (tmp_path / "taught").exists()
