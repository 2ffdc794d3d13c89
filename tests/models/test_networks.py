import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from enliven.errors import ConfigError, RequestError, WeightsError
from enliven.models.audio import Wav2VecEncoder
from enliven.models.codebook import Codebook, CodebookParams
from enliven.models.longcat import LongCatParams
from enliven.models.lora import attach_lora, read_lora
from enliven.models.networks import (
    Networks,
    at_rate,
    build_network,
    fingerprint,
    load_network,
    load_networks,
    read_params,
    save_networks,
)
from enliven.models.text import TextEncoder, learn_tokenizer
from enliven.models.wan import Wan, WanParams
from published_folders import write_lora
from tiny import PARAMS, SOUL_PARAMS, tiny_networks, tiny_soul_networks


@pytest.fixture(scope="module")
def networks() -> Networks:
    return tiny_networks()


def test_a_model_folder_gives_the_networks_back(tmp_path: Path, networks: Networks) -> None:
    save_networks(networks, tmp_path, torch.float32)
    loaded = load_networks(tmp_path)
    latents, sound = torch.randn(1, 4, 3, 4, 4), torch.randn(8000)
    assert torch.equal(loaded.autoencoder.decode(latents), networks.autoencoder.decode(latents))
    assert torch.equal(loaded.audio.encode(sound).features, networks.audio.encode(sound).features)
    assert torch.equal(loaded.text(["a hat"]).tokens, networks.text(["a hat"]).tokens)
    state, expected = loaded.backbone.state_dict(), networks.backbone.state_dict()
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_ears_may_have_another_rate(networks: Networks) -> None:
    sound = torch.randn(16_000, generator=torch.Generator().manual_seed(0))
    faster = at_rate(networks.audio, 32.0)
    heard = faster.encode(sound)
    expected = Wav2VecEncoder(networks.audio.network.config, 32.0).eval()
    expected.load_state_dict(networks.audio.state_dict())
    assert torch.equal(heard.features, expected.encode(sound).features)
    assert (heard.rate, len(heard.features)) == (32.0, 32)
    assert len(networks.audio.encode(sound).features) == 25
    five = build_network(
        replace(SOUL_PARAMS.audio, features="five", rate=25.0, config={**SOUL_PARAMS.audio.config, "encoder_layers": 4})
    )
    assert len(at_rate(five, 32.0).encode(sound).features) == 32
    with pytest.raises(ConfigError, match="50 a second, not 32"):
        at_rate(tiny_soul_networks().audio, 32.0)


def test_networks_that_were_read_are_saved_as_they_were(tmp_path: Path, networks: Networks) -> None:
    """Also the text encoder, which has one tensor under two names."""
    first, second = tmp_path / "first", tmp_path / "second"
    save_networks(networks, first)
    save_networks(load_networks(first), second)
    files = [path.relative_to(first) for path in sorted(first.rglob("*")) if path.is_file()]
    assert [name for name in files if name.suffix == ".safetensors"]
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in files)


def test_a_model_folder_gives_back_codebook_and_decoders(tmp_path: Path) -> None:
    networks = tiny_soul_networks()
    save_networks(networks, tmp_path, torch.float32)
    loaded = load_networks(tmp_path)
    assert fingerprint(loaded) == fingerprint(networks)
    assert isinstance(loaded.backbone, Wan)
    assert loaded.codebook is not None
    latents, sound = torch.randn(1, 4, 3, 4, 4), torch.randn(8000)
    assert torch.equal(loaded.codebook.repair(latents)[0], networks.codebook.repair(latents)[0])
    for name in ("full", "efficient"):
        assert torch.equal(loaded.decoder(name).decode(latents), networks.decoder(name).decode(latents))
    assert not torch.equal(loaded.decoder("full").decode(latents), loaded.decoder("efficient").decode(latents))
    assert torch.equal(loaded.audio.encode(sound).features, networks.audio.encode(sound).features)
    with pytest.raises(RequestError, match="no decoder 'best'"):
        loaded.decoder("best")


def test_the_fingerprint_is_also_that_of_codebook_and_decoders() -> None:
    networks = tiny_soul_networks()
    whole = fingerprint(networks)
    assert fingerprint(replace(networks, codebook=None)) != whole
    assert fingerprint(replace(networks, decoders={})) != whole


def test_a_codebook_is_stored_in_full(tmp_path: Path) -> None:
    networks = tiny_soul_networks()
    networks.codebook.percentiles.mul_(1.0001)
    save_networks(networks, tmp_path)
    loaded = load_networks(tmp_path)
    assert loaded.codebook is not None
    assert torch.equal(loaded.codebook.percentiles, networks.codebook.percentiles)


def test_weights_may_be_stored_in_half(tmp_path: Path, networks: Networks) -> None:
    save_networks(networks, tmp_path)
    loaded = load_networks(tmp_path)
    assert loaded.backbone.x_embedder.proj.weight.dtype == torch.float32
    torch.testing.assert_close(
        loaded.backbone.x_embedder.proj.weight, networks.backbone.x_embedder.proj.weight, atol=1e-3, rtol=1e-3
    )


def test_published_sizes_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"_class_name": "LongCatVideoAvatarTransformer3DModel", "depth": 2, "audio_block": 5}))
    params = read_params(path)
    assert isinstance(params, LongCatParams)
    assert (params.depth, params.audio and params.audio.audio_block) == (2, 5)


def test_published_sizes_of_wan_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"_class_name": "WanTransformer3DModel", "num_layers": 2, "patch_size": [1, 2, 2]}))
    assert read_params(path) == WanParams(num_layers=2)


@pytest.mark.parametrize("content", ["{", '{"network": "unknown"}', '{"network": "longcat", "depht": 3}', "[]"])
def test_a_config_that_makes_no_sense_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(WeightsError, match=r"config\.json"):
        load_network(tmp_path)


def test_an_absent_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no model at"):
        load_networks(tmp_path / "nothing")


def test_the_fingerprint_is_that_of_weights_sizes_and_tokenizer(tmp_path: Path, networks: Networks) -> None:
    save_networks(networks, tmp_path, torch.float32)
    own = fingerprint(networks)
    assert fingerprint(load_networks(tmp_path)) == own
    assert fingerprint(tiny_networks(seed=1)) != own

    text = networks.text
    for params, tokenizer in (
        (replace(text.params, length=11), text.tokenizer),
        (text.params, learn_tokenizer(["a woman with a dog"], 300)),
    ):
        other = TextEncoder(params, tokenizer)
        other.load_state_dict(text.state_dict())
        assert fingerprint(replace(networks, text=other)) != own


def test_the_fingerprint_sees_the_end_of_a_tensor() -> None:
    networks = tiny_networks()
    before = fingerprint(networks)
    weight = networks.backbone.x_embedder.proj.weight
    weight.flatten()[len(weight.flatten()) // 2 :] += 1
    assert fingerprint(networks) != before


def test_the_fingerprint_is_also_that_of_loras_and_their_strength(tmp_path: Path) -> None:
    networks = tiny_networks()
    bare = fingerprint(networks)
    attached = attach_lora(
        networks.backbone, read_lora(write_lora(tmp_path / "a", {"blocks.0.attn.proj": (32, 32, 1)}))
    )
    adapted = fingerprint(networks)
    attached.strength = 0.5
    half = fingerprint(networks)
    attached.detach()
    assert len({bare, adapted, half}) == 3
    assert fingerprint(networks) == bare


@pytest.mark.parametrize(
    ("part", "taken", "given"),
    [
        ("autoencoder", "latents of 4 channels", "latents of 6 channels"),
        ("audio", "2 features of 16 numbers", "3 features of 16 numbers"),
        ("codebook", "latents of 4 channels", "latents of 6 channels"),
    ],
)
def test_parts_of_different_models_are_refused(tmp_path: Path, part: str, taken: str, given: str) -> None:
    networks, wide = tiny_networks(), replace(PARAMS, autoencoder=replace(PARAMS.autoencoder, channels=6))
    other = {
        "autoencoder": lambda: tiny_networks(params=wide).autoencoder,
        "audio": lambda: tiny_soul_networks().audio,
        "codebook": lambda: Codebook(CodebookParams(size=2, channels=6)),
    }[part]()
    save_networks(replace(networks, **{part: other}), tmp_path)
    message = f"the backbone is for {taken}, the {part} beside it for {given}"
    with pytest.raises(WeightsError, match=message):
        load_networks(tmp_path)
