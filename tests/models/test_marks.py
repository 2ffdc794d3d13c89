"""A backbone knows the encoders it was taught with from others of the same sizes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from enliven.errors import WeightsError
from enliven.models.layered import saved_parts, write_label
from enliven.models.marks import TAUGHT_WITH, mark
from enliven.models.networks import find_parts, load_networks, save_backbone, save_network, save_networks
from enliven.models.text import TextEncoder, learn_tokenizer
from enliven.models.wan_autoencoder import WanAutoencoder, WanAutoencoderParams
from published_folders import CONFIGS, SMALL_VAE
from tiny import tiny_networks

MINE, OTHER = tiny_networks(0), tiny_networks(1)


@pytest.fixture
def taught(tmp_path: Path) -> Path:
    """A model folder whose backbone is marked."""
    save_networks(MINE, tmp_path / "taught")
    save_backbone(MINE.backbone, tmp_path / "taught")
    return tmp_path / "taught"


@pytest.mark.parametrize("name", ["text", "audio", "autoencoder"])
def test_another_encoder_of_the_same_sizes_is_refused(taught: Path, name: str) -> None:
    load_networks(taught)
    save_network(getattr(OTHER, name), taught / name)
    with pytest.raises(WeightsError, match=f"taught with another {name} than that in {taught / name}"):
        find_parts(taught)


def test_another_encoder_over_a_folder_is_refused(taught: Path) -> None:
    over = taught.with_name("over")
    write_label(over, "longcat-toon", taught)
    find_parts(over)
    save_network(OTHER.text, over / "text")
    with pytest.raises(WeightsError, match="taught with another text"):
        find_parts(over)


def test_other_words_are_refused(taught: Path) -> None:
    text = TextEncoder(MINE.text.params, learn_tokenizer(["a woman with a dog"], 300))
    text.load_state_dict(MINE.text.state_dict())
    save_network(text, taught / "text")
    with pytest.raises(WeightsError, match="taught with another text"):
        find_parts(taught)


def test_a_decoder_may_learn_on(taught: Path) -> None:
    autoencoder = load_networks(taught).autoencoder
    for name, value in autoencoder.named_parameters():
        if name.startswith(("decoder", "synthesis", "grow")):
            value.data += 1
    save_network(autoencoder, taught / "autoencoder")
    find_parts(taught)


def test_what_encodes_in_an_autoencoder_of_wan_counts_and_what_decodes_does_not(tmp_path: Path) -> None:
    network = WanAutoencoder(WanAutoencoderParams(CONFIGS["vae"] | SMALL_VAE))

    def marked() -> str:
        save_network(network, tmp_path, torch.float32)
        return mark(tmp_path, "autoencoder")

    first = marked()
    network.get_parameter("network.decoder.conv_in.weight").data += 1
    network.get_parameter("network.post_quant_conv.weight").data += 1
    assert marked() == first
    network.get_parameter("network.encoder.conv_in.weight").data += 1
    assert marked() != first


@pytest.mark.parametrize("types", [(torch.float16, torch.float32), (torch.float32, torch.float16)])
def test_the_type_in_which_weights_are_stored_does_not_count(
    tmp_path: Path, types: tuple[torch.dtype, torch.dtype]
) -> None:
    """Not even where rounding changes every number."""
    save_networks(MINE, tmp_path, types[0])
    save_backbone(MINE.backbone, tmp_path)
    for name in ("text", "audio", "autoencoder"):
        save_network(getattr(MINE, name), tmp_path / name, types[1])
    find_parts(tmp_path)


def test_a_backbone_without_marks_goes_with_any(taught: Path) -> None:
    save_networks(replace(MINE, text=OTHER.text), taught)
    assert TAUGHT_WITH not in json.loads((taught / "backbone" / "config.json").read_text())
    find_parts(taught)


def test_marks_that_make_no_sense_are_refused(taught: Path) -> None:
    path = saved_parts(taught)["backbone"] / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {TAUGHT_WITH: "everything"}))
    with pytest.raises(WeightsError, match="does not say"):
        find_parts(taught)
