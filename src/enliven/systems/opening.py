"""A model with its networks: by name or from a folder of weights, with the LoRAs it runs with."""

from dataclasses import dataclass, fields, replace
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


@dataclass(frozen=True, slots=True)
class Choices:
    """How a model is opened, see ``AvatarPipeline.load``: the type it runs in, its folder, its LoRAs."""

    dtype: Dtype = "auto"
    weights: Path | None = None
    loras: tuple[str, ...] = ()
    expressiveness: float | None = None

    @property
    def given(self) -> dict[str, Any]:
        """Those that say something."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value != getattr(AS_IT_IS, name)}

    def absolute(self) -> "Choices":
        """The same from any folder."""
        files = (split_strength(lora) for lora in self.loras)
        loras = tuple(f"{path.resolve()}:{strength:g}" for path, strength in files)
        return replace(self, weights=self.weights and self.weights.resolve(), loras=loras)


AS_IT_IS = Choices()


def open_model(name: str | None = None, choices: Choices = AS_IT_IS) -> tuple[ModelSpec, Networks]:
    """A model by name, or the one that the chosen folder is for, and its networks.

    A published folder knows the shift of its schedule better than we do. Raises RequestError, ConfigError,
    WeightsError.
    """
    spec = choose_model(name, choices.weights)
    folder = spec.weights if choices.weights is None else choices.weights
    wanted = [(read_lora(path), strength) for path, strength in lora_files(spec, folder, choices)]
    if find_hearing(folder) is not None:
        spec = spec.shifted(open_published(folder, spec.variant).shift)
    networks = load_networks(folder, DTYPES[choices.dtype], spec.variant)
    for lora, strength in wanted:
        attach_lora(networks.backbone, lora, strength)
    return spec, networks


def lora_files(spec: ModelSpec, folder: Path, choices: Choices = AS_IT_IS) -> list[tuple[Path, float]]:
    """File and strength of every LoRA: of the model's own, which made it quick, the strength is its expressiveness.

    Raises RequestError for an ``expressiveness`` where the model has no such LoRA.
    """
    files, expressiveness = [split_strength(lora) for lora in choices.loras], choices.expressiveness
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
