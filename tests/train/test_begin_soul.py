"""Soul begins from what is published of Wan and Whisper, here in miniature."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from enliven.errors import WeightsError
from enliven.models.networks import load_networks
from enliven.models.wan import Wan
from enliven.models.whisper import WhisperParams, new_whisper
from enliven.train.begin_soul import begin_soul
from published_folders import TEXT, WHISPER, bare, miniature, write_json, write_whole
from tiny import SOUL_PARAMS

WAN = {
    **{"_class_name": "WanTransformer3DModel", "in_channels": 16, "out_channels": 16, "num_attention_heads": 2},
    **{"attention_head_dim": 16, "num_layers": 2, "ffn_dim": 32, "text_dim": 32, "freq_dim": 16},
    **{"patch_size": [1, 2, 2], "qk_norm": "rms_norm_across_heads", "cross_attn_norm": True},
}


@pytest.fixture
def published(tmp_path: Path) -> Path:
    made = miniature()
    wan = Wan(replace(SOUL_PARAMS.backbone, in_channels=16, out_channels=16, text_dim=32, audio=None))
    write_whole(tmp_path / "wan" / "transformer", WAN, wan.state_dict(), "diffusion_pytorch_model")
    write_whole(
        tmp_path / "wan" / "vae",
        {"_class_name": "AutoencoderKLWan"} | dict(made.autoencoder.params.config),
        bare(made.autoencoder),
        "diffusion_pytorch_model",
    )
    words = {name: value for name, value in bare(made.text).items() if name != "encoder.embed_tokens.weight"}
    write_whole(tmp_path / "wan" / "text_encoder", TEXT, words, "model")
    (tmp_path / "wan" / "tokenizer").mkdir()
    made.text.tokenizer.save(str(tmp_path / "wan" / "tokenizer" / "tokenizer.json"))
    ears = new_whisper(WhisperParams.from_config(WHISPER))
    heard = {f"model.encoder.{name}": value for name, value in bare(ears).items()}
    write_whole(tmp_path / "ears", WHISPER, heard | {"model.decoder.layer_norm.weight": torch.zeros(32)}, "model")
    return tmp_path


def test_a_folder_of_soul_hears_what_its_ears_say(published: Path) -> None:
    begin_soul(published / "wan", published / "ears", published / "soul", torch.float32)
    networks = load_networks(published / "soul")  # refuses parts that do not fit each other
    assert isinstance(networks.backbone, Wan)
    state = networks.backbone.state_dict()
    assert torch.equal(state["blocks.0.attn_audio.to_k.weight"], state["blocks.0.attn2.to_k.weight"])
    assert not state["blocks.0.audio_gate"].any()
    assert networks.audio.layers == 5  # all hidden states of four layers
    torch.testing.assert_close(networks.text(["a man"]).tokens, miniature().text(["a man"]).tokens)


def test_another_kind_of_network_is_refused(published: Path) -> None:
    write_json(published / "ears" / "config.json", TEXT)
    with pytest.raises(WeightsError, match="not of whisper"):
        begin_soul(published / "wan", published / "ears", published / "soul")
    assert not (published / "soul").exists()
