"""The stages of a toon model: each takes steps, and a model comes out that speaks."""

import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from encoded_clips import write_clips
from enliven.errors import RequestError
from enliven.models.codebook import read_codebook_params
from enliven.models.longcat import LongCatParams
from enliven.models.networks import load_networks
from enliven.models.vae import ToonAutoencoderParams
from enliven.pipeline import AvatarPipeline
from enliven.request import GenerateRequest
from enliven.systems import MODELS, find_model
from enliven.systems.spec import ModelSpec
from enliven.train import checkpoint
from enliven.train.toon import STAGES, Budget, ToonRecipe, blended, train_toon
from toon_recipes import short_recipe


def narrow(spec: ModelSpec) -> ModelSpec:
    """The same model with few numbers in decoders and backbone: steps that take no time."""
    params = spec.params
    small = ToonAutoencoderParams(channels=params.autoencoder.channels, inner_width=24, outer_width=12)
    if isinstance(params.backbone, LongCatParams):
        backbone = replace(params.backbone, hidden_size=48, depth=2)
    else:
        backbone = replace(params.backbone, attention_head_dim=16, num_layers=2, ffn_dim=64)
    decoders = {name: replace(small, inner_width=12, outer_width=6) for name in params.decoders}
    params = replace(params, backbone=backbone, autoencoder=small, decoders=decoders)
    return replace(spec, params=params, size=(128, 128))


@pytest.mark.slow
@pytest.mark.parametrize("example", ["toon.toml", "soul.toml"])
def test_every_stage_takes_steps_and_the_model_speaks(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step each, of a narrow model."""
    recipe = replace(short_recipe(example, tmp_path), frames=61, warm_start=False)
    monkeypatch.setitem(MODELS, recipe.model, narrow(find_model(recipe.model)))
    budgets = {f.name: getattr(recipe, f.name) for f in fields(recipe) if isinstance(getattr(recipe, f.name), Budget)}
    hurried = {name: replace(each, minutes=each.minutes and 1e-6, batch=1) for name, each in budgets.items()}
    recipe = replace(recipe, **hurried, centroids=min(recipe.centroids, 8), guesses=4)
    train_toon(recipe, [stage for stage in STAGES if stage != "speech"])
    networks, spec = load_networks(recipe.weights), find_model(recipe.model)
    assert set(networks.decoders) == set(spec.params.decoders)
    assert (networks.codebook is not None) == bool(recipe.centroids)
    video = AvatarPipeline(spec, networks).generate(GenerateRequest(seconds=0.2, steps=1, prompt="A cartoon man."))
    assert video.frames.shape == (5, 3, *spec.size)
    for kept in (1.0, 0.0):
        shutil.rmtree(recipe.folder / "backbone")
        train_toon(replace(recipe, warm_start=True, kept=kept), ["backbone"])
        learnt = load_networks(recipe.weights).backbone.state_dict()
        same = [torch.equal(learnt[name], value) for name, value in networks.backbone.state_dict().items()]
        assert all(same) == bool(kept)
    shutil.rmtree(recipe.folder / "backbone")
    halves = []
    for _ in range(2):  # a finished run that is started again changes nothing
        train_toon(replace(recipe, warm_start=True, kept=0.5), ["backbone"])
        halves.append(load_networks(recipe.weights).backbone.state_dict())
    assert all(torch.equal(halves[1][name], value) for name, value in halves[0].items())


@pytest.mark.parametrize("said", [{}, {"per_centroid": False}])
def test_a_codebook_has_the_kind_of_radius_that_the_recipe_says(said: dict[str, bool], tmp_path: Path) -> None:
    write_clips(tmp_path / "encoded")
    train_toon(ToonRecipe(tmp_path, tmp_path / "weights", centroids=4, **said), ["codebook"])
    assert read_codebook_params(tmp_path / "weights" / "codebook").per_centroid == said.get("per_centroid", True)


def test_who_learns_to_read_is_not_taught_by_muon(tmp_path: Path) -> None:
    """Attention of T5 is not scaled: with queries as large as Muon makes them it sees one token."""
    recipe = ToonRecipe(tmp_path, tmp_path / "weights", reading=Budget(1e-6, 2e-3, batch=2))
    train_toon(recipe, ["reading"])
    tensors, _ = checkpoint.load(tmp_path / "reading" / "checkpoint")
    remembered = {name.rpartition("/")[2] for part in tensors.values() for name in part}
    assert "exp_avg" in remembered
    assert "momentum_buffer" not in remembered


def test_two_networks_are_blended_weight_by_weight() -> None:
    one, other = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    for network, value in ((one, 1.0), (other, 5.0)):
        torch.nn.init.constant_(network.weight, value)
        torch.nn.init.constant_(network.bias, -value)
    mean = blended(one, other, 0.25)
    assert (mean.weight.item(), mean.bias.item(), other.weight.item()) == (2, -2, 5)


def test_an_unknown_stage_is_refused_before_any_other_runs(tmp_path: Path) -> None:
    recipe = short_recipe("toon.toml", tmp_path)
    with pytest.raises(RequestError, match="painting") as caught:
        train_toon(recipe, ["drawing", "painting"])
    assert all(name in caught.value.hint for name in STAGES)
    assert not (recipe.folder / "clips").exists()
