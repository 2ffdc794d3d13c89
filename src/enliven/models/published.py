"""The folders in which LongCat is published, opened as they are.

``open_published`` reads configurations and says which network lies where; ``Part.fit`` compares the weights, by their
headers; ``networks.load_networks`` loads. An avatar shares autoencoder and text encoder with the base, whose folder is
looked for beside its own.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Wav2Vec2Config

from enliven.errors import ConfigError, WeightsError
from enliven.models.audio import WEIGHT_NORM, Wav2VecEncoder
from enliven.models.int8 import skipped_layers, to_int8
from enliven.models.longcat import LongCat, LongCatParams
from enliven.models.releases import BASE, RELEASES, Release, choose_variant, find_base, recognise
from enliven.models.stored import weight_files
from enliven.models.text import TextEncoder, TextParams, read_tokenizer
from enliven.models.wan_autoencoder import WanAutoencoder, WanAutoencoderParams
from enliven.models.weights import WRAPPED, Fit, Rename, find_weights, fit_weights, load_weights
from enliven.models.whisper import WhisperParams, new_whisper

TEXT_LENGTH = 512
TEXT_SIZES = (
    *("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads", "feed_forward_proj", "layer_norm_epsilon"),
    *("relative_attention_num_buckets", "relative_attention_max_distance", "pad_token_id", "eos_token_id"),
)
QUANTISED = ".weight_int8"


@dataclass(frozen=True, slots=True)
class Part:
    """A network in its folder: how it is built, what its stored tensors are called here, and its type to run in."""

    folder: Path
    build: Callable[[], nn.Module]
    rename: Rename | None = None
    dtype: torch.dtype = torch.float32

    def fit(self) -> Fit:
        """How the weights fit the network; no tensor is read. Raises WeightsError for damaged files."""
        return fit_weights(self.build, self.folder, self.rename)

    def shapes(self) -> Any:
        """The network without its weights."""
        with torch.device("meta"):
            return self.build().eval()

    def places(self) -> dict[str, tuple[Path, str]]:
        """File and stored name of every tensor, by its name in the network. Raises WeightsError."""
        return find_weights(self.build, self.folder, self.rename)

    @property
    def nbytes(self) -> int:
        """What the weights take on disk. Raises WeightsError."""
        return sum(path.stat().st_size for path in weight_files(self.folder))

    def load(self, dtype: torch.dtype | None = None) -> Any:
        """The network with its weights, in its own type or another. Raises WeightsError."""
        return load_weights(self.build, self.folder, dtype or self.dtype, self.rename)


@dataclass(frozen=True, slots=True)
class Published:
    """A published folder, opened: the parts by the names of ``Networks`` (the base has no audio), the shift of the
    schedule, and the LoRAs that lie there.
    """

    release: Release
    variant: str
    sizes: LongCatParams
    parts: Mapping[str, Part]
    shift: float
    loras: Mapping[str, Path] = field(default_factory=dict)


def open_published(folder: Path, variant: str | None = None, base: Path | None = None) -> Published:
    """Open a published folder; of several variants the first one, unless another is named.

    ``base`` is the folder of LongCat-Video, for an avatar that does not lie beside it. Raises WeightsError where
    something is missing, makes no sense, or belongs to another network; weights are not looked at yet.
    """
    release = recognise(folder)
    if release is None:
        raise _unknown(folder)
    variant = choose_variant(release, folder, variant)
    base = folder if release is BASE else find_base(folder, base)
    backbone = folder / release.backbones[variant]
    sizes = _read_sizes(backbone, release)
    text, autoencoder = base / "text_encoder", base / "vae"
    words, cells = _read_words(text), WanAutoencoderParams(_read_as(autoencoder, "_class_name", "AutoencoderKLWan"))
    parts = {
        "backbone": Part(backbone, _builder(sizes, backbone, variant), dtype=torch.bfloat16),
        "autoencoder": Part(autoencoder, lambda: WanAutoencoder(cells)),
        "text": Part(text, lambda: TextEncoder(words, read_tokenizer(_tokenizer(base))), _rename_text, torch.bfloat16),
    }
    _match(backbone, "text", sizes.caption_channels, text, words.config.get("d_model", 512))
    _match(backbone, "latents", sizes.in_channels, autoencoder, cells.channels)
    if release.hearing is not None:
        assert sizes.audio is not None
        parts["audio"], features = _open_hearing(folder / release.hearing, release)
        wanted = (sizes.audio.audio_block, sizes.audio.audio_channel)
        _match(backbone, "audio", wanted, folder / release.hearing, features)
    schedule = _read(folder if release.own_schedule else base, "scheduler/scheduler_config.json")
    loras = {path.stem: path for path in sorted((folder / "lora").glob("*.safetensors"))}
    return Published(release, variant, sizes, parts, float(schedule.get("shift", 1.0)), loras)


def require_fit(folder: Path, fit: Fit) -> None:
    """Raise WeightsError, with what was probably mixed up, unless all fits."""
    if fit.faults:
        raise WeightsError(
            f"the weights in {folder} belong to another network: {_guess(fit)}{fit}",
            hint="fetch the folder again, weights and config.json from the same place",
        )


def _guess(fit: Fit) -> str:
    """What the faults look like; nothing where they look like no known mistake."""
    missing, over = fit.missing, fit.left_over
    if any(name.startswith("audio_proj.proj1.weight") for name in fit.misshapen):
        return "they hear other features than config.json says, as those of Avatar 1.0 and 1.5 do; "
    if any(name.endswith(QUANTISED) for name in over):
        return "they are int8, where bf16 is expected; "
    if any(name.endswith(QUANTISED) for name in missing):
        return "they are not quantised, where int8 is expected; "
    if any(name.startswith("audio_proj.") for name in missing):
        return "they hear nothing, as those of the base LongCat-Video; "
    if any(name.startswith("audio_proj.") for name in over):
        return "they are those of an avatar, where the base is expected; "
    return ""


def _unknown(folder: Path) -> WeightsError:
    inside = {name for release in RELEASES.values() for name in release.backbones.values()}
    if folder.name in inside or _is_backbone(folder):
        return WeightsError(f"{folder} is the backbone alone", hint=f"give the folder around it: {folder.parent}")
    what = "is no published LongCat folder" if folder.is_dir() else "is not there"
    return WeightsError(f"{folder} {what}", hint=f"expected a folder that holds one of {', '.join(sorted(inside))}")


def _is_backbone(folder: Path) -> bool:
    return (folder / "config.json").is_file() and str(_read(folder).get("_class_name", "")).startswith("LongCat")


def _read(folder: Path, name: str = "config.json") -> dict[str, Any]:
    path = folder / name
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("expected an object")
    except (OSError, ValueError) as error:
        raise WeightsError(f"cannot read {path}: {error}", hint="it is missing or damaged: fetch it again") from error
    return values


def _read_as(folder: Path, key: str, kind: str) -> dict[str, Any]:
    """A config.json of a kind of network."""
    values = _read(folder)
    if values.get(key) != kind:
        raise WeightsError(
            f"{folder / 'config.json'} is that of {values.get(key, 'something else')}; {kind} was expected",
            hint=f"fetch {folder.name} again",
        )
    return values


def _read_words(folder: Path) -> TextParams:
    values = _read_as(folder, "model_type", "umt5")
    return TextParams(TEXT_LENGTH, {name: values[name] for name in TEXT_SIZES if name in values})


def _read_sizes(folder: Path, release: Release) -> LongCatParams:
    values = _read(folder)
    name = str(values.get("_class_name", ""))
    if not name.startswith("LongCat"):
        raise WeightsError(f"{folder / 'config.json'} is that of {name or 'something else'}", hint="fetch it again")
    hears = "Avatar" in name
    if hears != (release is not BASE):
        what = "an avatar, which hears" if hears else "the base LongCat-Video, which hears nothing"
        raise WeightsError(
            f"{folder / 'config.json'} is that of {what}; {release.name} was expected",
            hint=f"fetch {folder.name} of {release.name} again",
        )
    try:
        return LongCatParams.from_config(values)
    except (TypeError, ValueError, ConfigError) as error:
        raise WeightsError(f"{folder / 'config.json'} makes no sense: {error}", hint="fetch it again") from error


def _builder(sizes: LongCatParams, folder: Path, variant: str) -> Callable[[], nn.Module]:
    if variant != "int8":
        return lambda: LongCat(sizes)
    skipped = skipped_layers(_read(folder, "quantization_config.json"))
    return lambda: to_int8(LongCat(sizes), skipped)


def _open_hearing(folder: Path, release: Release) -> tuple[Part, tuple[int, int]]:
    """The audio encoder, and how many features of which width it gives."""
    values = _read(folder)
    if values.get("model_type") == "whisper":
        params = WhisperParams.from_config(values, rate=release.rate, features="five")
        return Part(folder, lambda: new_whisper(params), _rename_whisper), (5, values.get("d_model", 0))
    # Masks are for training; without them there is no tensor for them, which some publications lack.
    config = Wav2Vec2Config.from_dict(values | {"mask_time_prob": 0.0, "mask_feature_prob": 0.0})
    part = Part(folder, lambda: Wav2VecEncoder(config, release.rate), _rename_wav2vec)
    return part, (config.num_hidden_layers, config.hidden_size)


def _match(backbone: Path, what: str, wanted: object, folder: Path, given: object) -> None:
    if wanted != given:
        raise WeightsError(
            f"{backbone} takes {what} of size {wanted}, but {folder} gives {given}",
            hint="the folders come from different publications; fetch them again",
        )


def _tokenizer(base: Path) -> Path:
    path = base / "tokenizer" / "tokenizer.json"
    if not path.is_file():
        raise WeightsError(
            f"there is no {path}",
            hint="write it with transformers: AutoTokenizer.from_pretrained(folder).backend_tokenizer.save(path)",
        )
    return path


def _rename_text(name: str) -> str | None:
    return None if name.startswith(("decoder.", "lm_head.")) else WRAPPED + name


def _rename_whisper(name: str) -> str | None:
    name = name.removeprefix("model.")
    return None if name.startswith(("decoder.", "proj_out.")) else WRAPPED + name.removeprefix("encoder.")


def _rename_wav2vec(name: str) -> str | None:
    """Without what only training needs; weight norm has another name since it became a parametrization."""
    name = name.removeprefix("wav2vec2.")
    if name.startswith(("quantizer.", "project_", "lm_head.", "dropout_", "masked_spec_embed")):
        return None
    for old, new in WEIGHT_NORM.items():
        if name.endswith(old):
            name = f"{name.removesuffix(old)}conv.parametrizations.weight.{new}"
    return WRAPPED + name
