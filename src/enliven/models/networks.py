"""The networks of a model: their sizes, how they are built, and their folders on disk.

A model folder holds ``backbone``, ``autoencoder``, ``audio`` and ``text``, each with a ``config.json`` and weights. It
may also hold a ``codebook``, and other autoencoders of the same latents: that in ``autoencoder-efficient`` is the
decoder called ``efficient``. Published folders are read as they are (``enliven.models.published``).
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import Wav2Vec2Config

from enliven import config
from enliven.errors import ConfigError, RequestError, WeightsError
from enliven.media.storage import replacing
from enliven.models.audio import AudioEncoder, Wav2VecEncoder
from enliven.models.codebook import Codebook, load_codebook, save_codebook
from enliven.models.longcat import LongCat, LongCatParams
from enliven.models.lora import Adapter
from enliven.models.published import load_published
from enliven.models.releases import BASE, Release, recognise
from enliven.models.text import TextEncoder, TextParams, read_tokenizer
from enliven.models.vae import ToonAutoencoder, ToonAutoencoderParams, VideoAutoencoder
from enliven.models.wan import Wan, WanParams
from enliven.models.wan_autoencoder import WanAutoencoder, WanAutoencoderParams
from enliven.models.weights import load_weights, save_weights
from enliven.models.whisper import WhisperParams, new_whisper

PARTS = ("backbone", "autoencoder", "audio", "text")
LARGE_PARTS = ("backbone", "text")  # that may run in bfloat16; the others always have float32
CODEBOOK = "codebook"
DECODER = "autoencoder-"  # before the name of a decoder
FULL = "full"  # the name of the decoder that belongs to the encoder
TOKENIZER = "tokenizer.json"
SAMPLED = 64  # values of a tensor that tell it from another


@dataclass(frozen=True, slots=True)
class HearingParams:
    """The audio encoder: ``rate`` features a second, and what differs from the default ``Wav2Vec2Config``."""

    rate: float = 25.0
    config: Mapping[str, Any] = field(default_factory=dict)


BackboneParams = LongCatParams | WanParams
AutoencoderParams = ToonAutoencoderParams | WanAutoencoderParams
Params = BackboneParams | AutoencoderParams | HearingParams | WhisperParams | TextParams

KINDS: dict[str, type[Params]] = {
    "longcat": LongCatParams,
    "wan": WanParams,
    "toon-autoencoder": ToonAutoencoderParams,
    "wan-autoencoder": WanAutoencoderParams,
    "wav2vec2": HearingParams,
    "whisper": WhisperParams,
    "umt5": TextParams,
}


@dataclass(frozen=True, slots=True)
class NetworkParams:
    """The sizes of all networks of a model; ``decoders`` are those of other autoencoders of its latents, by name."""

    backbone: BackboneParams
    autoencoder: AutoencoderParams
    audio: HearingParams | WhisperParams
    text: TextParams
    decoders: Mapping[str, AutoencoderParams] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Networks:
    """All networks of a model; see ``NetworkParams``."""

    backbone: LongCat | Wan
    autoencoder: VideoAutoencoder
    audio: AudioEncoder
    text: TextEncoder
    codebook: Codebook | None = None
    decoders: Mapping[str, VideoAutoencoder] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, Any]:
        """Every network that there is, by the name of its folder."""
        parts = {name: getattr(self, name) for name in PARTS}
        parts |= {} if self.codebook is None else {CODEBOOK: self.codebook}
        return parts | {DECODER + name: network for name, network in self.decoders.items()}

    def decoder(self, name: str) -> VideoAutoencoder:
        """The autoencoder that decodes under that name. Raises RequestError for one that is not there."""
        known = {FULL: self.autoencoder, **self.decoders}
        if name not in known:
            raise RequestError(f"this model has no decoder {name!r}", hint=f"choose one of {', '.join(known)}")
        return known[name]

    def to(self, device: torch.device | str) -> "Networks":
        """The same networks, moved to a device."""
        for network in self.parts.values():
            network.to(device)
        return self


def build_networks(params: NetworkParams, tokenizer: Tokenizer) -> Networks:
    """New networks with random weights, and no codebook."""
    parts = {name: build_network(getattr(params, name), lambda: tokenizer) for name in PARTS}
    return Networks(**parts, decoders={name: build_network(sizes) for name, sizes in params.decoders.items()})


BUILDERS: dict[type[Params], Callable[[Any], nn.Module]] = {
    LongCatParams: LongCat,
    WanParams: Wan,
    ToonAutoencoderParams: ToonAutoencoder,
    WanAutoencoderParams: WanAutoencoder,
    HearingParams: lambda params: Wav2VecEncoder(Wav2Vec2Config(**params.config), params.rate),
    WhisperParams: new_whisper,
}


def build_network(params: Params, tokenizer: Callable[[], Tokenizer] | None = None) -> Any:
    """One new network with random weights; ``tokenizer`` gives the words of a text encoder."""
    if isinstance(params, TextParams):
        assert tokenizer is not None, "a text encoder needs its tokenizer"
        return TextEncoder(params, tokenizer())
    return BUILDERS[type(params)](params)


def save_networks(networks: Networks, folder: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write a model folder. Raises StorageError."""
    for name, network in networks.parts.items():
        if isinstance(network, Codebook):
            save_codebook(network, folder / name)
        else:
            save_network(network, folder / name, dtype)


def load_networks(
    folder: Path, dtype: torch.dtype | None = None, variant: str | None = None, base: Path | None = None
) -> Networks:
    """Read a model folder, or a published one: of its variants the first, unless another is named.

    Backbone and text encoder run in ``dtype``: as published, or in float32 where we saved them, unless one is named.
    ``base`` is the folder of LongCat-Video where it is not beside the avatar. Raises WeightsError where something is
    missing or does not fit.
    """
    if find_hearing(folder) is None:
        return _load_saved(folder, dtype or torch.float32)
    return Networks(**load_published(folder, variant, base, None if dtype is torch.bfloat16 else dtype))


def find_hearing(folder: Path) -> Release | None:
    """What is published in a folder, None where a model was saved here. Raises WeightsError unless it can hear."""
    if not folder.is_dir():
        raise WeightsError(f"no model at {folder}", hint=f"give the folder that holds {', '.join(PARTS)}")
    if (release := recognise(folder)) is BASE:
        raise WeightsError(
            f"{folder} holds {BASE.name}, the base, which hears nothing and so cannot talk",
            hint="give the folder of an avatar beside it; enliven models lists them",
        )
    if release is None and recognise(folder.resolve().parent) is not None:
        raise WeightsError(
            f"{folder} is a part of a model", hint=f"give the folder around it: {folder.resolve().parent}"
        )
    return release


def _load_saved(folder: Path, dtype: torch.dtype) -> Networks:
    return Networks(
        **{name: load_network(folder / name, dtype if name in LARGE_PARTS else torch.float32) for name in PARTS},
        codebook=load_codebook(folder / CODEBOOK) if (folder / CODEBOOK).is_dir() else None,
        decoders={path.name.removeprefix(DECODER): load_network(path) for path in sorted(folder.glob(f"{DECODER}*"))},
    )


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
    """The sizes in a ``config.json``: ours, or as published for a LongCat or Wan backbone or a Wan autoencoder.

    Raises WeightsError.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        published = values.get("_class_name", "")
        if published.startswith("LongCat"):
            return LongCatParams.from_config(values)
        if published == "WanTransformer3DModel":
            return WanParams.from_config(values)
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
    """A number that other sizes, another tokenizer, other weights or other LoRAs would change.

    Of every tensor, values from all over it are hashed: enough to tell weights apart, quick for large ones too.
    """
    total = hashlib.sha256(networks.text.tokenizer.to_str().encode())
    for part, network in networks.parts.items():
        total.update(json.dumps(_sizes(network), sort_keys=True).encode())
        for name, value in (network.state_dict() | _adapted(network)).items():
            sample = value.flatten()[:: max(1, value.numel() // SAMPLED)].double().cpu().numpy().tobytes()
            total.update(f"{part}.{name} {tuple(value.shape)}".encode() + sample)
    return total.hexdigest()


def _adapted(network: nn.Module) -> dict[str, Tensor]:
    """What LoRAs add to a network; it is not saved with it."""
    found: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        if isinstance(module, Adapter):
            strength = torch.tensor(module.strength * module.scale)
            found |= {f"{name}.down": module.down, f"{name}.up": module.up, f"{name}.strength": strength}
    return found


def _sizes(network: nn.Module) -> dict[str, Any]:
    """What a ``config.json`` says, without the version of the library that wrote it."""
    sizes = asdict(_params(network))
    if isinstance(network, Wav2VecEncoder):
        del sizes["config"]["transformers_version"]
    return sizes


def _params(network: nn.Module) -> Any:
    if isinstance(network, Wav2VecEncoder):
        return HearingParams(network.rate, network.network.config.to_diff_dict())
    return network.params
