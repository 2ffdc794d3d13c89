"""The networks of a model: their sizes, how they are built, and their folders on disk.

A model folder holds ``backbone``, ``autoencoder``, ``audio`` and ``text``, each with a ``config.json`` and weights.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import Wav2Vec2Config

from enliven import config
from enliven.errors import ConfigError, WeightsError
from enliven.media.storage import replacing
from enliven.models.audio import Wav2VecEncoder
from enliven.models.longcat import LongCat, LongCatParams
from enliven.models.text import TextEncoder, TextParams, read_tokenizer
from enliven.models.vae import ToonAutoencoder, ToonAutoencoderParams, VideoAutoencoder
from enliven.models.wan_autoencoder import WanAutoencoder, WanAutoencoderParams
from enliven.models.weights import load_weights, save_weights

TOKENIZER = "tokenizer.json"
SAMPLED = 64  # values of a tensor that tell it from another


@dataclass(frozen=True, slots=True)
class HearingParams:
    """The audio encoder: ``rate`` features a second, and what differs from the default ``Wav2Vec2Config``."""

    rate: float = 25.0
    config: Mapping[str, Any] = field(default_factory=dict)


Params = LongCatParams | ToonAutoencoderParams | WanAutoencoderParams | HearingParams | TextParams

KINDS: dict[str, type[Params]] = {
    "longcat": LongCatParams,
    "toon-autoencoder": ToonAutoencoderParams,
    "wan-autoencoder": WanAutoencoderParams,
    "wav2vec2": HearingParams,
    "umt5": TextParams,
}


@dataclass(frozen=True, slots=True)
class NetworkParams:
    """The sizes of all networks of a model."""

    backbone: LongCatParams
    autoencoder: ToonAutoencoderParams | WanAutoencoderParams
    audio: HearingParams
    text: TextParams


@dataclass(frozen=True, slots=True)
class Networks:
    """All networks of a model."""

    backbone: LongCat
    autoencoder: VideoAutoencoder
    audio: Wav2VecEncoder
    text: TextEncoder

    def to(self, device: torch.device | str) -> "Networks":
        """The same networks, moved to a device."""
        return Networks(*(getattr(self, part.name).to(device) for part in fields(self)))


def build_networks(params: NetworkParams, tokenizer: Tokenizer) -> Networks:
    """New networks with random weights."""
    return Networks(*(build_network(getattr(params, part.name), lambda: tokenizer) for part in fields(params)))


def build_network(params: Params, tokenizer: Callable[[], Tokenizer] | None = None) -> Any:
    """One new network with random weights; ``tokenizer`` gives the words of a text encoder."""
    match params:
        case LongCatParams():
            return LongCat(params)
        case ToonAutoencoderParams():
            return ToonAutoencoder(params)
        case WanAutoencoderParams():
            return WanAutoencoder(params)
        case HearingParams():
            return Wav2VecEncoder(Wav2Vec2Config(**params.config), params.rate)
        case TextParams():
            assert tokenizer is not None, "a text encoder needs its tokenizer"
            return TextEncoder(params, tokenizer())


def save_networks(networks: Networks, folder: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write a model folder. Raises StorageError."""
    for part in fields(networks):
        save_network(getattr(networks, part.name), folder / part.name, dtype)


def load_networks(folder: Path, dtype: torch.dtype = torch.float32) -> Networks:
    """Read a model folder. Raises WeightsError where something is missing or does not fit."""
    if not folder.is_dir():
        raise WeightsError(
            f"no model at {folder}", hint="give the folder that holds backbone, autoencoder, audio, text"
        )
    return Networks(*(load_network(folder / part.name, dtype) for part in fields(Networks)))


def save_network(network: nn.Module, folder: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write one network with its configuration. Raises StorageError."""
    params = _params(network)
    kind = next(name for name, known in KINDS.items() if isinstance(params, known))
    save_weights(network, folder, dtype)
    with replacing(folder / "config.json") as part:
        part.write_text(json.dumps({"network": kind, **asdict(params)}, indent=1) + "\n", encoding="utf-8")
    if isinstance(network, TextEncoder):
        with replacing(folder / TOKENIZER) as part:
            network.tokenizer.save(str(part))


def load_network(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """Read one network, ready to run. Raises WeightsError."""
    params = read_params(folder / "config.json")
    return load_weights(lambda: build_network(params, lambda: read_tokenizer(folder / TOKENIZER)), folder, dtype)


def read_params(path: Path) -> Params:
    """The sizes in a ``config.json``: ours, or as published for a LongCat backbone or Wan autoencoder.

    Raises WeightsError.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        published = values.get("_class_name", "")
        if published.startswith("LongCat"):
            return LongCatParams.from_config(values)
        if published == "AutoencoderKLWan":
            return WanAutoencoderParams(values)
        return config.parse(KINDS[values.pop("network")], values)
    except KeyError as error:
        raise WeightsError(
            f"{path} names no network that is known: {error}", hint=f"known: {', '.join(KINDS)}"
        ) from error
    except (OSError, ValueError, AttributeError, ConfigError) as error:
        raise WeightsError(f"cannot read the sizes of a network from {path}: {error}", hint="fetch it again") from error


def fingerprint(networks: Networks) -> str:
    """A number that other sizes, another tokenizer or other weights would change.

    Of every tensor, values from all over it are hashed: enough to tell weights apart, quick for large ones too.
    """
    total = hashlib.sha256(networks.text.tokenizer.to_str().encode())
    for part in fields(networks):
        network = getattr(networks, part.name)
        total.update(json.dumps(_sizes(network), sort_keys=True).encode())
        for name, value in network.state_dict().items():
            sample = value.flatten()[:: max(1, value.numel() // SAMPLED)].double().cpu().numpy().tobytes()
            total.update(f"{part.name}.{name} {tuple(value.shape)}".encode() + sample)
    return total.hexdigest()


def _sizes(network: nn.Module) -> dict[str, Any]:
    """What a ``config.json`` says, without the version of the library that wrote it."""
    sizes = asdict(_params(network))
    if isinstance(network, Wav2VecEncoder):
        del sizes["config"]["transformers_version"]
    return sizes


def _params(network: nn.Module) -> Params:
    if isinstance(network, Wav2VecEncoder):
        return HearingParams(network.rate, network.network.config.to_diff_dict())
    return network.params  # type: ignore[return-value]
