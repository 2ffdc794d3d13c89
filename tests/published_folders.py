"""The published LongCat folders in miniature: their files, names and configurations, with networks of a few layers.

``golden/longcat_published.json`` holds the configurations as published, and the names in the index of 1.5 with those
of a block once.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import Wav2Vec2Config

from enliven.models.audio import WEIGHT_NORM, Wav2VecEncoder
from enliven.models.int8 import to_int8
from enliven.models.longcat import LongCat, LongCatParams
from enliven.models.lora import DOT
from enliven.models.text import TextEncoder, TextParams, learn_tokenizer
from enliven.models.wan_autoencoder import WanAutoencoder, WanAutoencoderParams
from enliven.models.whisper import WhisperParams, new_whisper

PUBLISHED = json.loads((Path(__file__).parent / "golden" / "longcat_published.json").read_text())
CONFIGS: dict[str, dict[str, Any]] = PUBLISHED["configs"]
INDICES: dict[str, dict[str, Any]] = PUBLISHED["indices"]

SMALL = {
    **{"hidden_size": 64, "depth": 2, "num_heads": 4, "caption_channels": 32, "adaln_tembed_dim": 32},
    **{"frequency_embedding_size": 32},
}
SMALL_HEARING = {"intermediate_dim": 32, "output_dim": 32, "context_tokens": 4}
SMALL_VAE = {"base_dim": 8, "num_res_blocks": 1}
TEXT = {
    **{"model_type": "umt5", "architectures": ["UMT5EncoderModel"], "torch_dtype": "bfloat16", "vocab_size": 300},
    **{"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "feed_forward_proj": "gated-gelu"},
    **{"dense_act_fn": "gelu_new", "is_gated_act": True, "tie_word_embeddings": False, "num_decoder_layers": 2},
}
WAV2VEC = {
    **{"model_type": "wav2vec2", "architectures": ["Wav2Vec2ForPreTraining"], "torch_dtype": "float32"},
    **{"hidden_size": 24, "num_hidden_layers": 12, "num_attention_heads": 4, "intermediate_size": 32},
    **{"conv_dim": [8] * 7, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4},
    **{"gradient_checkpointing": False, "mask_time_prob": 0.05},
}
WHISPER = CONFIGS["whisper"] | {
    **{"d_model": 32, "encoder_layers": 4, "encoder_attention_heads": 4, "encoder_ffn_dim": 32, "num_mel_bins": 16},
    "max_source_positions": 50,
}


@dataclass(frozen=True)
class Miniature:
    """The networks whose weights lie in the folders."""

    base: LongCat
    avatar_1_0: LongCat
    avatar_1_5: LongCat
    autoencoder: WanAutoencoder
    text: TextEncoder
    wav2vec: Wav2VecEncoder
    whisper: nn.Module


def miniature() -> Miniature:
    """New networks, every weight random, also those that start at zero."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        heard = {"1.0": SMALL_HEARING | {"audio_channel": 24}, "1.5": SMALL_HEARING | {"audio_channel": 32}}
        made = Miniature(
            LongCat(LongCatParams.from_config(CONFIGS["dit"] | SMALL)),
            LongCat(LongCatParams.from_config(CONFIGS["avatar_1.0"] | SMALL | heard["1.0"])),
            LongCat(LongCatParams.from_config(CONFIGS["avatar_1.5"] | SMALL | heard["1.5"])),
            WanAutoencoder(WanAutoencoderParams(CONFIGS["vae"] | SMALL_VAE)),
            TextEncoder(TextParams(512, {"is_decoder": False} | text_sizes()), learn_tokenizer(["a man talks"], 300)),
            Wav2VecEncoder(Wav2Vec2Config.from_dict(WAV2VEC), 32.0),
            new_whisper(WhisperParams.from_config(WHISPER, rate=25.0, features="five")),
        )
        for backbone in (made.base, made.avatar_1_0, made.avatar_1_5):
            for parameter in backbone.parameters():
                nn.init.normal_(parameter, std=0.05)
    for network in vars(made).values():
        network.eval().requires_grad_(False)
    return replace(made)


def text_sizes() -> dict[str, Any]:
    return {name: TEXT[name] for name in ("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads")} | {
        "feed_forward_proj": "gated-gelu"
    }


def write_base(folder: Path, made: Miniature) -> Path:
    """LongCat-Video."""
    write_sharded(folder / "dit", CONFIGS["dit"] | SMALL, made.base.bfloat16().state_dict(), 3)
    write_whole(folder / "vae", CONFIGS["vae"] | SMALL_VAE, bare(made.autoencoder), "diffusion_pytorch_model")
    words = {name: value for name, value in bare(made.text).items() if name != "encoder.embed_tokens.weight"}
    write_sharded(folder / "text_encoder", TEXT, words, 2, "model")
    (folder / "tokenizer").mkdir()
    made.text.tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
    write_json(folder / "scheduler" / "scheduler_config.json", CONFIGS["scheduler"])
    (folder / "lora").mkdir()
    quick = {"blocks.0.attn.qkv": (192, 64, 3), "blocks.1.ffn.w2": (64, 256, 1)}
    write_lora(folder / "lora" / "cfg_step_lora.safetensors", quick)
    finer = {"blocks.0.adaLN_modulation.1": (384, 32, 6), "final_layer.adaLN_modulation.1": (128, 32, 2)}
    write_lora(folder / "lora" / "refinement_lora.safetensors", quick | finer | {"final_layer.linear": (64, 64, 1)})
    return folder


def write_avatar_1_0(folder: Path, made: Miniature) -> Path:
    """LongCat-Video-Avatar, whose audio encoder has been converted to safetensors."""
    config = CONFIGS["avatar_1.0"] | SMALL | SMALL_HEARING | {"audio_channel": 24}
    for name in ("avatar_single", "avatar_multi"):
        write_sharded(folder / name, config, made.avatar_1_0.bfloat16().state_dict(), 3)
    new = {f"conv.parametrizations.weight.{new}": old for old, new in WEIGHT_NORM.items()}
    state = {"quantizer.codevectors": torch.zeros(1, 2), "project_hid.weight": torch.zeros(2, 2)}
    for name, value in bare(made.wav2vec).items():
        ending = next((ending for ending in new if name.endswith(ending)), "")
        state[f"wav2vec2.{name.removesuffix(ending)}{new.get(ending, '')}"] = value
    write_whole(folder / "chinese-wav2vec2-base", WAV2VEC, state, "model")
    return folder


def write_avatar_1_5(folder: Path, made: Miniature) -> Path:
    """LongCat-Video-Avatar-1.5. Its Whisper has a decoder, and its weights lie there twice."""
    config = CONFIGS["avatar_1.5"] | SMALL | SMALL_HEARING | {"audio_channel": 32}
    backbone = made.avatar_1_5.bfloat16()
    write_sharded(folder / "base_model", config, backbone.state_dict(), 6)
    small = to_int8(LongCat(backbone.params).bfloat16())
    small.load_state_dict(int8_state(backbone))
    write_sharded(folder / "base_model_int8", config, small.state_dict(), 4, "quantized_model")
    write_json(folder / "base_model_int8" / "quantization_config.json", CONFIGS["quantization"])
    write_json(folder / "scheduler" / "scheduler_config.json", CONFIGS["scheduler_1.5"])
    heard = {f"model.encoder.{name}": value.half() for name, value in bare(made.whisper).items()}
    state = heard | {"model.decoder.layer_norm.weight": torch.zeros(32).half()}
    write_whole(folder / "whisper-large-v3", WHISPER, state, "model")
    twice = {name: value.float() for name, value in state.items()}
    save_file(twice, folder / "whisper-large-v3" / "model.fp32-00001-of-00001.safetensors")
    (folder / "lora").mkdir()
    changed = {"blocks.0.attn.qkv": (192, 64, 3), "blocks.1.ffn.w1": (256, 64, 1)}
    write_lora(folder / "lora" / "dmd_lora.safetensors", changed)
    return folder


def int8_state(backbone: LongCat) -> dict[str, Tensor]:
    """The weights of the network after ``to_int8``, which leaves the network itself as it is."""
    twin = LongCat(backbone.params).to(torch.bfloat16)
    twin.load_state_dict(backbone.state_dict())
    return to_int8(twin).state_dict()


def bare(network: nn.Module) -> dict[str, Tensor]:
    """The weights of a wrapped network, by their own names."""
    return {name.removeprefix("network."): value.clone() for name, value in network.state_dict().items()}


def write_whole(folder: Path, config: dict[str, Any], state: dict[str, Tensor], name: str) -> None:
    write_json(folder / "config.json", config)
    save_file({key: value.contiguous() for key, value in state.items()}, folder / f"{name}.safetensors")


def write_sharded(
    folder: Path, config: dict[str, Any], state: dict[str, Tensor], count: int, name: str = "diffusion_pytorch_model"
) -> None:
    write_json(folder / "config.json", config)
    names, index = list(state), {}
    for number in range(count):
        shard = f"{name}-{number + 1:05}-of-{count:05}.safetensors"
        part = names[number::count]
        save_file({key: state[key].contiguous() for key in part}, folder / shard, {"format": "pt"})
        index |= dict.fromkeys(part, shard)
    total = sum(value.nbytes for value in state.values())
    write_json(folder / f"{name}.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": index})


def write_json(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def write_all(folder: Path) -> Miniature:
    """All three publications side by side; the networks are in the types that were written."""
    made = miniature()
    write_base(folder / "LongCat-Video", made)
    write_avatar_1_0(folder / "LongCat-Video-Avatar", made)
    write_avatar_1_5(folder / "LongCat-Video-Avatar-1.5", made)
    return made


def index_names(variant: str) -> set[str]:
    """All names in a published index of 1.5."""
    index = INDICES[variant]
    blocks = {f"blocks.{block}.{name}" for block in range(index["blocks"]) for name in index["names_in_block"]}
    return blocks | set(index["names"])


def lora_key(layer: str, part: str) -> str:
    return f"lora{DOT}{layer.replace('.', DOT)}.{part}"


def write_lora(path: Path, layers: dict[str, tuple[int, int, int]], rank: int = 2, seed: int = 0) -> Path:
    """A LoRA for layers of given output, input and number of parts."""
    made, state = torch.Generator().manual_seed(seed), {}
    for layer, (wide, narrow, parts) in layers.items():
        state[lora_key(layer, "lora_down.weight")] = torch.randn(parts * rank, narrow, generator=made)
        for index in range(parts):
            up = f"lora_up.blocks.{index}.weight" if parts > 1 else "lora_up.weight"
            state[lora_key(layer, up)] = torch.randn(wide // parts, rank, generator=made)
        state[lora_key(layer, "alpha_scale")] = torch.tensor(0.5)
    save_file(state, path)
    return path
