"""The folder that Soul is trained from: Wan 2.2 5B with new audio layers, what lies beside it, and Whisper.

    python -m enliven.train.begin_soul weights/Wan2.2-TI2V-5B-Diffusers weights/whisper-tiny -o weights/soul

Both are read as they are published (Wan in the layout of diffusers). Audio layers begin as copies of text layers behind
closed gates (Soul, 3.1).
"""

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from enliven.errors import ConfigError, WeightsError
from enliven.models.networks import build_network, read_params, save_backbone, save_network
from enliven.models.published import TEXT_LENGTH, TEXT_SIZES, Part
from enliven.models.text import TextEncoder, TextParams, read_tokenizer
from enliven.models.wan import Wan, WanParams
from enliven.models.wan_audio import WanAudioParams
from enliven.models.wan_weights import fill_wan
from enliven.models.weights import WRAPPED, read_weights
from enliven.models.whisper import WhisperParams
from enliven.train.backbones import BACKBONE

log = logging.getLogger(__name__)


def begin_soul(wan: Path, whisper: Path, folder: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Write a model folder, backbone and text encoder in ``dtype``; one network at a time is in memory.

    Raises WeightsError where something is missing or of another kind, StorageError.
    """
    ears, words = _hearing(whisper), _reading(wan)
    parts = {
        "audio": Part(whisper, lambda: build_network(ears), _rename_whisper),
        "autoencoder": Part(wan / "vae", lambda: build_network(read_params(wan / "vae" / "config.json"))),
        "text": Part(wan / "text_encoder", lambda: build_network(words, lambda: _tokenizer(wan)), dtype=dtype),
    }
    for name, part in parts.items():
        log.info("%s from %s", name, part.folder)
        network = part.load()
        if isinstance(network, TextEncoder):  # one table of words with two names, which reading has parted
            network.network.encoder.embed_tokens = network.network.shared
        save_network(network, folder / name, part.dtype)
    log.info("%s from %s", BACKBONE, wan / "transformer")
    save_backbone(_backbone(wan / "transformer", ears), folder, dtype)


def _backbone(folder: Path, ears: WhisperParams) -> nn.Module:
    params = read_params(folder / "config.json")
    if not isinstance(params, WanParams):
        raise WeightsError(f"{folder / 'config.json'} is not that of a Wan", hint="give Wan2.2-TI2V-5B-Diffusers")
    with torch.device("meta"):
        hearing: Any = build_network(ears)
    network = Wan(replace(params, audio=WanAudioParams(audio_block=hearing.layers, audio_channel=hearing.channels)))
    fill_wan(network, read_weights(folder))
    return network


def _hearing(folder: Path) -> WhisperParams:
    values = _read(folder / "config.json", "whisper")
    return WhisperParams.from_config(values)


def _reading(wan: Path) -> TextParams:
    values = _read(wan / "text_encoder" / "config.json", "umt5")
    return TextParams(TEXT_LENGTH, {name: values[name] for name in TEXT_SIZES if name in values})


def _tokenizer(wan: Path) -> Any:
    return read_tokenizer(wan / "tokenizer" / "tokenizer.json")


def _read(path: Path, kind: str) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"cannot read {path}: {error}", hint="it is missing or damaged: fetch it again") from error
    if values.get("model_type") != kind:
        raise WeightsError(f"{path} is that of {values.get('model_type')}, not of {kind}", hint="give another folder")
    return values


def _rename_whisper(name: str) -> str | None:
    """Without the decoder."""
    name = name.removeprefix("model.")
    return WRAPPED + name.removeprefix("encoder.") if name.startswith("encoder.") else None


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wan", type=Path, help="the folder Wan2.2-TI2V-5B-Diffusers")
    parser.add_argument("whisper", type=Path, help="a folder of Whisper; the paper does not say which, tiny is ours")
    parser.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        begin_soul(asked.wan, asked.whisper, asked.output)
    except (WeightsError, ConfigError) as error:
        parser.exit(error.exit_code, f"{error}\n{error.hint}\n")


if __name__ == "__main__":
    main()
