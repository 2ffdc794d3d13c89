"""A backbone learns from shards: published folders in miniature, few steps, as the examples say."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed  # noqa: TID251

from enliven import config
from enliven.data.encoded import EncodedClip
from enliven.data.manifest import read_manifest
from enliven.data.shards import ShardWriter
from enliven.errors import ConfigError
from enliven.models.lora import read_lora
from enliven.models.networks import save_networks
from enliven.models.weights import read_weights
from enliven.pipeline import AvatarPipeline
from enliven.runtime.choices import Choices
from enliven.train.recipe import BackboneRecipe, train_recipe
from enliven.train.texts import STAGE
from enliven.types import Progress
from published_folders import miniature, write_avatar_1_0, write_base
from several_processes import run_together
from tiny import tiny_soul_networks, write_portrait, write_speech

EXAMPLES = Path(__file__).parents[2] / "examples"
FROZEN = re.compile(r"x_embedder|t_embedder|y_embedder|final_layer|\.adaLN_modulation|pre_crs_attn_norm")
BRIEF = ["device=cpu", "dtype=float32", "pace.steps=3", "pace.warmup=0", "pace.parts=2", "pace.learning_rate=0.003"]


def write_shards(
    folder: Path, *, channels: int, layers: int, width: int, features: int, latents: int = 25, others: int = 0
) -> Path:
    """Clips of noise, each with a caption of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    made, frames = torch.Generator().manual_seed(features), 4 * latents - 3
    with ShardWriter(folder, others) as writer:
        for number in range(5):
            clip = EncodedClip(
                latents=torch.randn(channels, latents, 2, 4, generator=made),
                references=torch.randn(latents, channels, 2, 4, generator=made),
                reference_frames=torch.arange(0, frames, 4),
                audio=torch.randn(1, frames * features, layers, width, generator=made),
                mouth=torch.zeros(1, frames, 5),
                caption=f"{'others' if others else 'a man'} who says {number}",
                silent=False,
            )
            writer.add(clip, f"film {number}", 0)
    return folder


def longcat(folder: Path, *more: str, example: str = "longcat-avatar") -> BackboneRecipe:
    """The example, with folders of ``folder``: 16 and 25 frames a second."""
    values = config.override(config.read(EXAMPLES / f"{example}.toml"), [*BRIEF, *more])
    values |= {"folder": str(folder / "run"), "model": "longcat", "weights": str(folder / "LongCat-Video-Avatar")}
    values["result"] = str(folder / ("lora.safetensors" if "lora" in values else "learnt"))
    values["sources"] = [{"shards": str(folder / rate)} for rate in ("16", "25")]
    if "deaf" in values:
        values["deaf"] = str(folder / "LongCat-Video" / "dit")
    return config.parse(BackboneRecipe, values)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = miniature()
    write_base(tmp_path / "LongCat-Video", made)
    write_avatar_1_0(tmp_path / "LongCat-Video-Avatar", made)
    for rate, features in (("16", 2), ("25", 1)):
        write_shards(tmp_path / rate, channels=16, layers=12, width=24, features=features)
    return tmp_path


def changed(learnt: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> set[str]:
    assert learnt.keys() == before.keys()
    assert {value.dtype for value in learnt.values()} == {torch.bfloat16}
    return {name for name, value in learnt.items() if not torch.equal(value, before[name])}


def test_what_the_paper_trains_learns_and_nothing_else(folder: Path) -> None:
    recipe = longcat(folder)
    assert train_recipe(recipe) == folder / "learnt"
    learnt = read_weights(folder / "learnt" / "avatar_single")
    base = read_weights(folder / "LongCat-Video" / "dit")
    frozen = {name for name in learnt if FROZEN.search(name)}
    assert len(frozen) > 10
    assert all(torch.equal(learnt[name], base[name]) for name in frozen)  # begun from the base, to the bit
    for kind in (r"\.attn\.", r"\.cross_attn\.", r"\.ffn\."):
        names = [name for name in learnt if re.search(kind, name) and name.endswith("weight") and "norm" not in name]
        assert all(not torch.equal(learnt[name], base[name]) for name in names)
    assert any(value.any() for name, value in learnt.items() if "audio_adaLN" in name)  # the gate opens
    pipeline = AvatarPipeline.load(choices=Choices(weights=folder / "learnt"))
    assert pipeline.spec.name == "longcat"
    name = "blocks.1.ffn.w2.weight"
    assert torch.equal(pipeline.networks.backbone.state_dict()[name], learnt[name])


def test_a_stopped_run_goes_on_to_the_same_weights(folder: Path) -> None:
    train_recipe(plain(longcat(folder), folder / "whole"))
    train_recipe(plain(longcat(folder, "pace.steps=2"), folder / "parted"))
    train_recipe(plain(longcat(folder), folder / "parted"))
    one, other = (read_weights(folder / name / "learnt" / "avatar_single") for name in ("whole", "parted"))
    before = read_weights(folder / "LongCat-Video-Avatar" / "avatar_single")
    assert not changed(one, other)
    assert not any(FROZEN.search(name) for name in changed(one, before))
    assert len(changed(one, before)) > 20


def plain(recipe: BackboneRecipe, folder: Path) -> BackboneRecipe:
    """The same from the avatar itself, in folders of its own."""
    return BackboneRecipe(
        kind="backbone",
        folder=folder,
        result=folder / "learnt",
        sources=recipe.sources,
        model=recipe.model,
        weights=recipe.weights,
        trainable=recipe.trainable,
        pace=recipe.pace,
        telling=recipe.telling,
        device="cpu",
        dtype="float32",
    )


def test_a_lora_learns_beside_a_published_backbone(folder: Path) -> None:
    recipe = longcat(folder, "dtype=bfloat16", "lora.rank=2", example="longcat-lora")
    train_recipe(recipe)
    lora = read_lora(folder / "lora.safetensors")
    assert any(change.up.any() for change in lora.changes.values())
    assert {name.split(".")[2] for name in lora.changes} == {"attn", "cross_attn", "audio_cross_attn", "ffn"}
    worn = Choices(weights=folder / "LongCat-Video-Avatar", loras=(str(folder / "lora.safetensors"),))
    AvatarPipeline.load(choices=worn)
    assert not (folder / "learnt").exists()


def soul(folder: Path, *more: str) -> BackboneRecipe:
    values = config.override(config.read(EXAMPLES / "soul-full.toml"), [*BRIEF, *more])
    values |= {"folder": str(folder / "run"), "result": str(folder / "learnt"), "model": "soul-toon"}
    values |= {"weights": str(folder / "weights")}
    values["sources"] = [{"shards": str(folder / "shards")}] if values["sources"] else []
    return config.parse(BackboneRecipe, values)


def write_soul(folder: Path) -> Path:
    save_networks(tiny_soul_networks(), folder / "weights", torch.bfloat16)
    write_shards(folder / "shards", channels=4, layers=3, width=16, features=2, latents=14)
    return folder


def test_all_of_soul_learns_its_gates_too(tmp_path: Path) -> None:
    train_recipe(soul(write_soul(tmp_path)))
    learnt = read_weights(tmp_path / "learnt" / "backbone")
    moved = changed(learnt, read_weights(tmp_path / "weights" / "backbone"))
    assert {name for name in learnt if "audio_gate" in name} <= moved
    assert len(moved) > 0.9 * len(learnt)
    assert AvatarPipeline.load(choices=Choices(weights=tmp_path / "learnt")).spec.name == "soul-toon"
    assert "text" in json.loads((tmp_path / "learnt" / "backbone" / "config.json").read_text())["taught_with"]


def test_a_part_of_soul_learns_at_a_rate_of_its_own_also_after_a_stop(tmp_path: Path) -> None:
    """The first step of AdamW moves every weight by its rate."""
    write_soul(tmp_path)
    steps = {}
    for run, settings in {"one": ["pace.steps=1"], "parted": [], "whole": []}.items():
        if run == "parted":
            train_recipe(apart(tmp_path, run, "pace.steps=2"))
        train_recipe(apart(tmp_path, run, *settings))
        steps[run] = read_weights(tmp_path / run / "learnt" / "backbone")
    assert not changed(steps["parted"], steps["whole"])
    before = read_weights(tmp_path / "weights" / "backbone")
    moved = {name: (value.float() - before[name].float()).abs().median() for name, value in steps["one"].items()}
    assert moved["blocks.0.audio_gate"] == pytest.approx(0.05, rel=0.02)
    assert moved["audio_proj.proj1.bias"] == pytest.approx(0.05, rel=0.02)
    assert moved["proj_out.bias"] == pytest.approx(0.01, rel=0.02)


def apart(folder: Path, run: str, *settings: str) -> BackboneRecipe:
    """Soul in folders of its own, in steps large enough to be seen in bfloat16."""
    made = soul(folder, "pace.learning_rate=0.01", "pace.weight_decay=0.0", "pace.ema=0.0", *settings)
    return replace(made, folder=folder / run, result=folder / run / "learnt")


def test_what_is_encoded_meanwhile_waits_for_the_next_run(tmp_path: Path) -> None:
    """Its captions have not been encoded when the backbone learns."""
    shards, sizes = write_soul(tmp_path) / "shards", {"channels": 4, "layers": 3, "width": 16, "features": 2}

    def encode_more(progress: Progress) -> None:
        if progress.stage == STAGE and len(read_manifest(shards)) == 5:
            write_shards(shards, **sizes, latents=14, others=1)

    train_recipe(soul(tmp_path, "pace.steps=4"), on_progress=encode_more)
    assert len(read_manifest(shards)) == 10
    assert train_recipe(soul(tmp_path, "pace.steps=5")) == tmp_path / "learnt"


def learn_together(folder: Path) -> None:
    """In each of two processes."""
    distributed.init_process_group("gloo")
    train_recipe(soul(folder, 'trainable="audio|ffn"'))


def test_two_processes_share_a_recipe(tmp_path: Path) -> None:
    run_together(2, learn_together, write_soul(tmp_path))
    moved = changed(read_weights(tmp_path / "learnt" / "backbone"), read_weights(tmp_path / "weights" / "backbone"))
    assert len(moved) > 10
    assert all(re.search("audio|ffn", name) for name in moved)
    assert len(list((tmp_path / "run" / "texts").glob("*/texts_00*"))) == 2  # each encoded its share


def test_there_is_a_video_to_look_at(tmp_path: Path) -> None:
    write_soul(tmp_path)
    watching = {
        "portrait": write_portrait(tmp_path / "portrait.png"),
        "audio": write_speech(tmp_path / "speech.wav", 0.2),
    }
    settings = [f"watching.{name}={str(path)!r}" for name, path in watching.items()]
    train_recipe(soul(tmp_path, *settings, "watching.minutes=0.0", "watching.steps=1", "pace.steps=1"))
    assert (tmp_path / "run" / "training" / "samples" / "step-00000001.mp4").stat().st_size > 1000


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("trainable=nothing_is_called_so", "no weight has a name"),
        ("trainable=(", "no regular expression"),
        ("sources=[]", "without sources"),
        ("lora.rank=2", "a LoRA learns beside"),
        ("device=cuda", "there is none"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(tmp_path: Path, setting: str, told: str) -> None:
    if setting == "device=cuda" and torch.cuda.is_available():
        pytest.skip("there is one")
    write_soul(tmp_path)
    if setting == "lora.rank=2":
        setting += '\ntrainable="audio"'
    with pytest.raises(ConfigError) as refused:
        train_recipe(soul(tmp_path, *setting.splitlines()))
    assert told in str(refused.value)


def test_every_example_is_a_recipe() -> None:
    for name in ("longcat-avatar", "longcat-lora", "soul-full", "soul-lora"):
        values: dict[str, Any] = config.read(EXAMPLES / f"{name}.toml")
        assert config.parse(BackboneRecipe, values).kind == "backbone"
