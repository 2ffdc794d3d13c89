"""A model with its networks: by name or from a folder of weights, with the LoRAs it runs with."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from enliven.errors import RequestError
from enliven.models.lora import attach_lora, read_lora
from enliven.models.networks import Networks, find_hearing, load_networks
from enliven.models.published import open_published
from enliven.systems import choose_model
from enliven.systems.spec import ModelSpec

Dtype = Literal["auto", "float32", "bfloat16"]
DTYPES = {"auto": None, "float32": torch.float32, "bfloat16": torch.bfloat16}


def open_model(
    name: str | None = None,
    *,
    dtype: Dtype = "auto",
    weights: Path | None = None,
    loras: Sequence[str] = (),
    expressiveness: float | None = None,
) -> tuple[ModelSpec, Networks]:
    """A model by name, or the one that a folder of ``weights`` is for, and its networks.

    A published folder knows the shift of its schedule better than we do. For the rest see ``AvatarPipeline.load``.
    Raises RequestError, ConfigError, WeightsError.
    """
    spec = choose_model(name, weights)
    folder = spec.weights if weights is None else weights
    wanted = [(read_lora(path), strength) for path, strength in lora_files(spec, folder, loras, expressiveness)]
    if find_hearing(folder) is not None:
        spec = spec.shifted(open_published(folder, spec.variant).shift)
    networks = load_networks(folder, DTYPES[dtype], spec.variant)
    for lora, strength in wanted:
        attach_lora(networks.backbone, lora, strength)
    return spec, networks


def choices(**chosen: Any) -> dict[str, Any]:
    """The arguments of ``open_model`` that say something, with paths that hold in any folder."""
    given = {name: value for name, value in chosen.items() if value not in (None, "auto", ())}
    if "weights" in given:
        given["weights"] = given["weights"].resolve()
    if "loras" in given:
        files = map(split_strength, given["loras"])
        given["loras"] = tuple(f"{path.resolve()}:{strength:g}" for path, strength in files)
    return given


def lora_files(
    spec: ModelSpec, folder: Path, loras: Sequence[str] = (), expressiveness: float | None = None
) -> list[tuple[Path, float]]:
    """File and strength of every LoRA: of the model's own, which made it quick, the strength is its expressiveness.

    Each of ``loras`` is ``PATH`` or ``PATH:STRENGTH``. Raises RequestError for an ``expressiveness`` where the model
    has no such LoRA.
    """
    files = [split_strength(lora) for lora in loras]
    if spec.distillation is not None:
        path = folder / "lora" / f"{spec.distillation}.safetensors"
        return [(path, 1.0 if expressiveness is None else expressiveness), *files]
    if expressiveness is not None:
        raise RequestError(
            f"{spec.name} has no expressiveness to set: it is the strength of a LoRA that this model runs without",
            hint="leave it out, or choose longcat-1.5",
        )
    return files


def split_strength(lora: str) -> tuple[Path, float]:
    """Path and strength in ``PATH:STRENGTH``; without a number behind a colon, the strength is 1."""
    path, _, strength = lora.rpartition(":")
    try:
        return (Path(path), float(strength)) if path else (Path(lora), 1.0)
    except ValueError:
        return Path(lora), 1.0
