"""The networks of a model: their sizes, how they are built, and their folders on disk.

A model folder holds ``backbone``, ``autoencoder``, ``text`` and, where the model hears, ``audio``, each with a
``config.json`` and weights. It may also hold a ``codebook``, and other autoencoders of the same latents: that in
``autoencoder-efficient`` is the decoder called ``efficient``. Published folders are read as they are
(``enliven.models.published``), and a folder may lie over another (``enliven.models.layered``).
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
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
from enliven.models.codebook import Codebook, read_codebook_params, save_codebook
from enliven.models.layered import saved_parts
from enliven.models.longcat import LongCat, LongCatParams
from enliven.models.lora import Adapter
from enliven.models.marks import TAUGHT_WITH, mark_backbone, require_marked
from enliven.models.published import Part, open_published, require_fit
from enliven.models.releases import Release, recognise
from enliven.models.text import TextEncoder, TextParams, read_tokenizer
from enliven.models.vae import ToonAutoencoder, ToonAutoencoderParams, VideoAutoencoder
from enliven.models.wan import Wan, WanParams
from enliven.models.wan_autoencoder import WanAutoencoder, WanAutoencoderParams
from enliven.models.weights import EXACT, sampled, save_weights
from enliven.models.whisper import WhisperParams, new_whisper

AUDIO = "audio"  # which a model that hears nothing has not
PARTS = ("backbone", "autoencoder", AUDIO, "text")
LARGE_PARTS = ("backbone", "text")  # that may run in bfloat16; the others always have float32
CODEBOOK = "codebook"
DECODER = "autoencoder-"  # before the name of a decoder
FULL = "full"  # the name of the decoder that belongs to the encoder
TOKENIZER = "tokenizer.json"


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
ROLES: dict[str, Any] = {
    "backbone": BackboneParams,
    "autoencoder": AutoencoderParams,
    AUDIO: HearingParams | WhisperParams,
    "text": TextParams,
}


@dataclass(frozen=True, slots=True)
class NetworkParams:
    """The sizes of all networks of a model; ``decoders`` are those of other autoencoders of its latents, by name.

    Without ``audio`` it hears nothing.
    """

    backbone: BackboneParams
    autoencoder: AutoencoderParams
    text: TextParams
    audio: HearingParams | WhisperParams | None = None
    decoders: Mapping[str, AutoencoderParams] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, Params]:
        """Those of ``PARTS`` that there are, by name."""
        return {name: sizes for name in PARTS if (sizes := getattr(self, name)) is not None}


@dataclass(frozen=True, slots=True)
class Networks:
    """All networks of a model; see ``NetworkParams``.

    ``runs_in`` is the type of backbone and text encoder while they run: weights may wait in another.
    """

    backbone: LongCat | Wan
    autoencoder: VideoAutoencoder
    text: TextEncoder
    audio: AudioEncoder | None = None
    codebook: Codebook | None = None
    decoders: Mapping[str, VideoAutoencoder] = field(default_factory=dict)
    runs_in: torch.dtype | None = None

    @property
    def parts(self) -> dict[str, Any]:
        """Every network that there is, by the name of its folder."""
        parts = {name: network for name in PARTS if (network := getattr(self, name)) is not None}
        parts |= {} if self.codebook is None else {CODEBOOK: self.codebook}
        return parts | {DECODER + name: network for name, network in self.decoders.items()}

    def decoder(self, name: str) -> VideoAutoencoder:
        """The autoencoder that decodes under that name. Raises RequestError for one that is not there."""
        known = {FULL: self.autoencoder, **self.decoders}
        if name not in known:
            raise RequestError(f"this model has no decoder {name!r}", hint=f"choose one of {', '.join(known)}")
        return known[name]

    @property
    def device(self) -> torch.device:
        """Where they run: that of the autoencoder, which never comes and goes."""
        device: torch.device = next(self.parts[PARTS[1]].parameters()).device
        return device

    def to(self, device: torch.device | str) -> "Networks":
        """The same networks, moved to a device."""
        for network in self.parts.values():
            network.to(device)
        return self


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
    parts = find_parts(folder, variant, base)
    networks = {name: part.load(dtype if name in LARGE_PARTS else None) for name, part in parts.items()}
    return completed(networks, folder)


def find_parts(folder: Path, variant: str | None = None, base: Path | None = None) -> dict[str, Part]:
    """The networks that every model has, in their folders and not read yet; see ``load_networks``.

    What hears is among them where the backbone does.

    Raises WeightsError, also for published weights that do not fit, and for a backbone taught with other encoders.
    """
    if published_in(folder) is None:
        there = saved_parts(folder)
        places = {name: there.get(name, folder / name) for name in PARTS}
        if getattr(read_params(places[PARTS[0]] / "config.json"), AUDIO, None) is None:
            del places[AUDIO]
        parts = {name: saved_part(place, name) for name, place in places.items()}
        require_marked(places)
        return parts
    published = open_published(folder, variant, base)
    for part in published.parts.values():
        require_fit(part.folder, part.fit())
    return {name: published.parts[name] for name in PARTS if name in published.parts}


def completed(
    networks: Mapping[str, Any], folder: Path, device: torch.device | str = "cpu", runs_in: torch.dtype | None = None
) -> Networks:
    """Networks with the codebook and the other decoders of a folder, if there are any.

    Raises WeightsError, also where they are of different models.
    """
    beside = {name: part.load().to(device) for name, part in parts_beside(folder).items()}
    return _matching({**networks, **beside}, runs_in)


def parts_beside(folder: Path) -> dict[str, Part]:
    """The codebook and the other decoders of a folder, if there are any, not read yet. Raises WeightsError."""
    there = saved_parts(folder).items()
    return {name: saved_part(place, name) for name, place in there if name == CODEBOOK or name.startswith(DECODER)}


def shapes_of(parts: Mapping[str, Part]) -> Networks:
    """The networks of all parts of a model, by name, of which no tensor is read.

    Raises WeightsError where they are of different models.
    """
    return _matching({name: part.shapes() for name, part in parts.items()})


def _matching(parts: Mapping[str, Any], runs_in: torch.dtype | None = None) -> Networks:
    """Networks by the names of their folders, which must be of one model."""
    decoders = {name.removeprefix(DECODER): part for name, part in parts.items() if name.startswith(DECODER)}
    others = {name: part for name, part in parts.items() if not name.startswith(DECODER)}
    networks = Networks(**others, decoders=decoders, runs_in=runs_in)
    require_match(networks)
    return networks


def require_match(networks: Networks) -> None:
    """Raise WeightsError where a network takes what no other one gives: they were saved with different models."""
    params = networks.backbone.params
    width = params.text_dim if isinstance(params, WanParams) else params.caption_channels
    latents, text = f"latents of {params.in_channels} channels", f"text of {width} numbers a token"
    pairs = {
        "autoencoder": (latents, f"latents of {networks.autoencoder.channels} channels"),
        "text": (text, f"text of {networks.text.network.config.d_model} numbers a token"),
    }
    if params.audio is not None:
        heard = f"{params.audio.audio_block} features of {params.audio.audio_channel} numbers"
        given = networks.audio and f"{networks.audio.layers} features of {networks.audio.channels} numbers"
        pairs[AUDIO] = (heard, given or "nothing")
    if networks.codebook is not None:
        pairs[CODEBOOK] = (latents, f"latents of {networks.codebook.params.channels} channels")
    for name, decoder in networks.decoders.items():
        pairs[DECODER + name] = (latents, f"latents of {decoder.channels} channels")
    for name, (taken, given) in pairs.items():
        if taken != given:
            raise WeightsError(
                f"the backbone is for {taken}, the {name} beside it for {given}",
                hint="all folders of a model must come from the same one",
            )


def published_in(folder: Path) -> Release | None:
    """What is published in a folder, None where a model was saved here. Raises WeightsError where neither is."""
    if not folder.is_dir():
        raise WeightsError(f"no model at {folder}", hint=f"give the folder that holds {', '.join(PARTS)}")
    release = recognise(folder)
    if release is None and recognise(folder.resolve().parent) is not None:
        raise WeightsError(
            f"{folder} is a part of a model", hint=f"give the folder around it: {folder.resolve().parent}"
        )
    return release


def save_network(network: nn.Module, folder: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write one network with its configuration. Raises StorageError."""
    params = params_of(network)
    kind = next(name for name, known in KINDS.items() if isinstance(params, known))
    save_weights(network, folder, dtype)
    with replacing(folder / "config.json") as part:
        part.write_text(json.dumps({"network": kind, **asdict(params)}, indent=1) + "\n", encoding="utf-8")
    if isinstance(network, TextEncoder):
        with replacing(folder / TOKENIZER) as part:
            network.tokenizer.save(str(part))


def save_backbone(network: nn.Module, folder: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write the backbone of a model folder, marked as taught with the encoders there.

    Raises WeightsError where those cannot be read, StorageError.
    """
    save_network(network, folder / PARTS[0], dtype)
    mark_backbone(saved_parts(folder))


def load_network(folder: Path, dtype: torch.dtype = torch.float32) -> Any:
    """Read one network, ready to run. Raises WeightsError."""
    return saved_part(folder).load(dtype)


def saved_part(folder: Path, name: str = "") -> Part:
    """A network that was saved here, not read yet; by ``name``, it must be what that part of a model is.

    Raises WeightsError.
    """
    if name == CODEBOOK:
        codebook = read_codebook_params(folder)
        return Part(folder, lambda: Codebook(codebook))
    params = read_params(folder / "config.json")
    if name and not isinstance(params, ROLES[name.partition("-")[0]]):
        kind = next(kind for kind, known in KINDS.items() if isinstance(params, known))
        raise WeightsError(
            f"{folder} holds a network of the kind {kind}, which cannot be the {name} of a model",
            hint="the folders are mixed up: each must hold what its name says",
        )
    return Part(folder, lambda: build_network(params, lambda: read_tokenizer(folder / TOKENIZER)))


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
        values.pop(TAUGHT_WITH, None)
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
            whole = getattr(value, "full_tensor", lambda value=value: value)()  # of weights that processes share
            sample = sampled(whole)
            if part in LARGE_PARTS and value.is_floating_point() and not name.endswith(EXACT):
                sample = sample.to(networks.runs_in or sample.dtype)
            values = sample.double().cpu().numpy().tobytes()
            total.update(f"{part}.{name} {tuple(value.shape)}".encode() + values)
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
    sizes = asdict(params_of(network))
    if isinstance(network, Wav2VecEncoder):
        del sizes["config"]["transformers_version"]
    return sizes


def at_rate(ears: Any, rate: float) -> Any:
    """The same audio encoder, giving ``rate`` features a second. Raises ConfigError where it has a rate of its own."""
    network = build_network(replace(params_of(ears), rate=rate))
    network.load_state_dict(ears.state_dict())
    return network.to(next(ears.parameters()).device).eval().requires_grad_(requires_grad=False)


def params_of(network: nn.Module) -> Any:
    """Its sizes."""
    if isinstance(network, Wav2VecEncoder):
        return HearingParams(network.rate, network.network.config.to_diff_dict())
    return network.params
