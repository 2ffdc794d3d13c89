"""An efficient decoder learns from films: a teacher in miniature, few steps, from the example to the video."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, distributed  # noqa: TID251

from encoded_clips import write_clip
from enliven import config
from enliven.errors import ConfigError, EnlivenError, MediaError, RequestError, WeightsError
from enliven.models.networks import load_networks, save_networks
from enliven.models.wan_autoencoder import EVAE, WAN_2_2, WanAutoencoderParams
from enliven.models.weights import read_weights
from enliven.train.decoder import DecoderRecipe, narrowed, train_decoder
from enliven.train.eyes import PhotoEyes
from media_files import drifting, write_frames
from several_processes import run_together
from tiny import SOUL_PARAMS, tiny_networks, tiny_soul_networks

EXAMPLE = Path(__file__).parents[2] / "examples" / "soul-evae.toml"
STATISTICS = {"latents_mean": [0.1, -0.2, 0.3, 0.0], "latents_std": [0.9, 1.1, 1.0, 0.7]}
SMALL = {"z_dim": 4, "base_dim": 4, "decoder_base_dim": 8, "num_res_blocks": 1}
TEACHER = WanAutoencoderParams({**WAN_2_2.config, **SMALL, **STATISTICS})
BRIEF = {"device": "cpu", "dtype": "float32", "steps": 2, "warmup": 0, "parts": 2, "width": 4, "measured": 2}
CROPS = {"side": 32, "frames": 5, "batch": 1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with an autoencoder of Wan 2.2's shape, two films, and two clips that a backbone might have made."""
    params = replace(SOUL_PARAMS, autoencoder=TEACHER, decoders={})
    save_networks(tiny_networks(params=params), tmp_path / "soul", torch.float32)
    (tmp_path / "films").mkdir()
    for start in (0, 100):
        write_frames(tmp_path / "films" / f"{start}.mp4", drifting(12, start=start), [40 * i for i in range(12)])
    (tmp_path / "generated").mkdir()
    for number in range(2):
        latents = torch.randn(4, 3, 3, 4, generator=torch.Generator().manual_seed(number))
        write_clip(tmp_path / "generated" / f"{number}.safetensors", latents)
    return tmp_path


def recipe(folder: Path, run: str = "run", **changes: Any) -> DecoderRecipe:
    """The example with the folders of a test."""
    values = config.read(EXAMPLE) | BRIEF | {"crops": CROPS}
    del values["eyes"], values["generated"]
    values |= {"folder": folder / run, "weights": folder / "soul", "result": folder / f"{run}-soul"}
    return config.parse(DecoderRecipe, values | {"films": [folder / "films"]} | changes)


def generated(folder: Path, share: float) -> dict[str, Any]:
    return {"clips": [folder / "generated"], "share": share}


def decoder(made: Path) -> dict[str, Tensor]:
    return read_weights(made / "autoencoder-efficient")


def test_a_result_decodes_under_its_name_what_the_encoder_of_its_teacher_gives(folder: Path) -> None:
    networks = load_networks(train_decoder(recipe(folder)))
    full, efficient = networks.autoencoder, networks.decoder("efficient")
    assert (full.params, efficient.params.config["decoder_base_dim"]) == (TEACHER, 4)
    video = drifting(5, 32, 32).float().transpose(0, 1)[None] / 127.5 - 1
    latents = full.encode(video)
    assert torch.equal(efficient.encode(video), latents)
    shown, wide = efficient.decode(latents), full.decode(latents)
    assert shown.shape == wide.shape == video.shape
    assert 0 < (shown - wide).abs().mean() < 0.3


def test_a_stopped_run_goes_on_to_the_same_weights(folder: Path) -> None:
    asked = {"generated": generated(folder, 0.5), "steps": 4}
    train_decoder(recipe(folder, "whole", **asked))
    train_decoder(recipe(folder, "parted", minutes=1e-9, **asked))
    one, first = decoder(folder / "whole-soul"), decoder(folder / "parted-soul")
    assert changed(one, first)
    train_decoder(recipe(folder, "parted", **asked))
    assert not changed(one, decoder(folder / "parted-soul"))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_it_learns_from_generated_latents_and_its_teacher_says_how_they_look(folder: Path, share: float) -> None:
    asked = {"generated": generated(folder, share)} if share else {}
    train_decoder(recipe(folder, log_every=1, **asked))
    told = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(told) == 2
    assert all((line["truth"] == line["teacher"]) == bool(share) for line in told)


def changed(one: dict[str, Tensor], other: dict[str, Tensor]) -> set[str]:
    assert one.keys() == other.keys()
    return {name for name, value in one.items() if not torch.equal(value, other[name])}


def test_the_example_makes_the_decoder_of_the_paper() -> None:
    assert narrowed(WAN_2_2, config.parse(DecoderRecipe, config.read(EXAMPLE)).width) == EVAE


def test_a_run_begins_with_what_another_has_learnt(folder: Path) -> None:
    train_decoder(recipe(folder, "first", learning_rate=1e-2))
    begun = folder / "first-soul" / "autoencoder-efficient"
    train_decoder(recipe(folder, "second", begun=begun, learning_rate=0.0, steps=1))
    assert not changed(decoder(folder / "first-soul"), decoder(folder / "second-soul"))
    with pytest.raises(WeightsError, match="no decoder of this width"):
        train_decoder(recipe(folder, "third", begun=folder / "soul" / "autoencoder"))


def test_pictures_are_perceived_and_have_to_look_real_if_asked(folder: Path) -> None:
    (folder / "eyes").mkdir()
    save_file(PhotoEyes().state_dict(), folder / "eyes" / "model.safetensors")
    changes = {
        "steps": 3,
        "eyes": folder / "eyes",
        "adversarial": 0.05,
        "losses": {"feature_steps": 1},
        "log_every": 1,
        "parts": 1,
    }
    train_decoder(recipe(folder, **changes))
    told = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    assert ["perceived" in line for line in told] == [True, False, True]
    assert ["discriminator" in line for line in told] == [False, True, False]
    assert ["adversarial" in line for line in told] == [False, False, True]


def learn_together(folder: Path) -> None:
    """In each of two processes."""
    distributed.init_process_group("gloo")
    train_decoder(recipe(folder, "two", generated=generated(folder, 0.5)))


def test_two_processes_share_a_run_and_learn_what_one_does(folder: Path) -> None:
    train_decoder(recipe(folder, "one", generated=generated(folder, 0.5)))
    run_together(2, learn_together, folder)
    one, two = decoder(folder / "one-soul"), decoder(folder / "two-soul")
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "kind", "told"),
    [
        ({"films": ["empty"]}, ConfigError, "there are no films in .*empty"),
        ({"films": ["soul/model.txt"]}, ConfigError, "is no list of videos"),
        ({"films": ["bad"]}, MediaError, "none of 1 films can be learnt from"),
        ({"crops": CROPS | {"side": 128}}, MediaError, "none of 2 films can be learnt from"),
        ({"crops": CROPS | {"side": 40}}, ConfigError, "40 pixels and 5 frames fill no whole latents"),
        ({"crops": CROPS | {"frames": 6}}, ConfigError, "32 pixels and 6 frames fill no whole latents"),
        ({"generated": {"clips": ["nowhere"]}}, ConfigError, "there are no generated clips in nowhere"),
        ({"generated": {"clips": ["nowhere"], "share": 0.0}}, ConfigError, "generated.share is 0"),
        ({"width": 16}, ConfigError, "wider than the teacher"),
        ({"weights": "toon"}, WeightsError, "holds no autoencoder of soul to learn from"),
        ({"weights": "toon", "model": "soul-toon"}, RequestError, "no efficient decoder that learns from films"),
        ({"weights": "films"}, WeightsError, "films"),
        ({"result": "toon"}, ConfigError, "another model that would be lost"),
        ({"weights": "toon", "result": "toon"}, ConfigError, "an efficient decoder that would be lost"),
    ],
)
def test_what_cannot_be_learnt_is_refused_in_a_sentence(
    folder: Path, changes: dict[str, Any], kind: type[EnlivenError], told: str
) -> None:
    (folder / "empty").mkdir()
    (folder / "bad").mkdir()
    (folder / "bad" / "film.mp4").write_bytes(b"no film")
    save_networks(tiny_soul_networks(), folder / "toon", torch.float32)
    placed = {name: str(folder / value) for name, value in changes.items() if name in ("weights", "result")}
    placed |= {"films": [str(folder / name) for name in changes.get("films", ["films"])]}
    with pytest.raises(kind, match=told) as caught:
        train_decoder(recipe(folder, **(changes | placed)))
    assert caught.value.hint
    assert not (folder / "run").exists()
    assert not (folder / "run-soul").exists()
