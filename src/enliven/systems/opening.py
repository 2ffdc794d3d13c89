"""A model with its networks: by name or from a folder, with the LoRAs it runs with, in what memory there is."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from enliven.errors import RequestError
from enliven.models.layered import LORA, own_loras
from enliven.models.lora import Lora, attach_lora, check_strength, fit_lora, read_lora
from enliven.models.networks import (
    NetworkParams,
    Networks,
    completed,
    find_parts,
    params_of,
    parts_beside,
    published_in,
    shapes_of,
)
from enliven.models.published import Part, open_published
from enliven.runtime.attention import load_kernel, use_kernel, why_not
from enliven.runtime.choices import AS_IT_IS, Choices, split_strength
from enliven.runtime.machine import holds_fp8, this_machine
from enliven.runtime.memory import BACKBONE, GIB, Dtype, MemoryPlan, Needs, Quantise, plan_memory
from enliven.runtime.mesh import Mesh
from enliven.runtime.sharding import own_part
from enliven.systems import choose_model
from enliven.systems.execution import Execution
from enliven.systems.footprint import model_needs
from enliven.systems.spec import ModelSpec
from enliven.types import OnProgress, Progress, ignore_progress

logger = logging.getLogger(__name__)

SMALL = GIB  # bytes of weights with which a model runs whole everywhere; weighing it would take longer than loading it


@dataclass(frozen=True, slots=True)
class Opening:
    """A model that was found and planned for; its weights are not read yet.

    ``needs``, and ``shapes``, its networks without their weights, are None where the model is so small that nobody
    asked. ``choices`` are those made, and what must be the
    same when the model is opened again elsewhere.
    """

    spec: ModelSpec
    choices: Choices
    parts: Mapping[str, Part]
    loras: tuple[tuple[Lora, float], ...]
    execution: Execution
    folder: Path
    needs: Needs | None = None
    shapes: Networks | None = None

    def check(self, spec: ModelSpec) -> None:
        """Refuse a ``spec`` that needs what the folder lacks; of a small model, that is noticed when it is loaded.

        Raises WeightsError for a codebook, RequestError for a decoder.
        """
        if self.shapes is not None:
            spec.check(self.shapes)

    def load(self, on_progress: OnProgress = ignore_progress) -> Networks:
        """The networks, ready to run, read one after the other. Raises WeightsError."""
        networks: dict[str, Any] = {}
        for name, part in sorted(self.parts.items(), key=lambda part: part[0] == BACKBONE):  # the largest last
            networks[name] = self.execution.load(name, part, self._attach if name == BACKBONE else None)
            on_progress(Progress(f"loading {self.spec.name}", len(networks), len(self.parts)))
        return completed(networks, self.folder, self.execution.device, self.execution.dtype)

    def _attach(self, backbone: Any) -> None:
        use_kernel(backbone, self.choices.attention)
        for lora, strength in self.loras:
            attach_lora(backbone, lora, strength)


def open_model(
    name: str | None = None, choices: Choices = AS_IT_IS, device: str = "cpu", mesh: Mesh | None = None
) -> Opening:
    """A model by name, or the one that the chosen folder is for, planned for the memory of a device.

    With a ``mesh``, the device is that of this process, of several. A published folder knows the shift of its schedule
    better than we do. Raises RequestError, also where it does not fit, ConfigError, WeightsError, also for a LoRA of
    another model; MissingExtra where a kernel of attention was chosen that is not here.
    """
    load_kernel(choices.attention)  # before anything is read
    spec = choose_model(name, choices.weights)
    choices = replace(choices, attention=_trained_kernel(spec, choices.attention, device))
    folder = spec.weights if choices.weights is None else choices.weights
    files = lora_files(spec, folder, choices)
    published = published_in(folder) is not None
    if published:
        spec = spec.shifted(open_published(folder, spec.variant, choices.base).shift)
    elif choices.base is not None:
        raise RequestError(
            f"{folder} was saved here and has its own autoencoder and text encoder", hint="leave out --base"
        )
    parts = find_parts(folder, spec.variant, choices.base)
    loras = _read_loras(files, parts[BACKBONE])
    stored: Quantise = "int8" if spec.quantised else "none"
    small = sum(part.nbytes for part in parts.values()) < SMALL
    unasked = stored if small else None  # it began whole, and is resumed in the same numbers in any memory
    wanted = unasked if choices.quantise == "auto" else choices.quantise
    if spec.quantised and wanted not in (None, stored):
        raise RequestError(f"{spec.name} is published in int8", hint="choose longcat-1.5 for its bfloat16 weights")
    if wanted == "fp8" and not holds_fp8(device):
        raise RequestError(f"{device} has no numbers of fp8", hint="choose --quantise int8")
    asked: Dtype | None = ("bfloat16" if published else None) if choices.dtype == "auto" else choices.dtype
    if choices.memory == "auto" and small:
        execution = Execution(device, MemoryPlan(asked or "float32", quantise=wanted or stored), mesh)
        return Opening(spec, choices, parts, loras, execution, folder)
    shapes = shapes_of({**parts, **parts_beside(folder)})
    spec.check(shapes)
    sizes = {name: params_of(getattr(shapes, name)) for name in parts}  # those of its folder may be others
    spec = replace(spec, params=NetworkParams(**sizes, decoders=spec.params.decoders))
    needs = _weigh(spec, [lora for lora, _ in loras], asked)
    if mesh is not None and mesh.parallel.sharded:
        own = own_part(needs.parts[BACKBONE], mesh.parallel.processes)
        needs = replace(needs, parts={**needs.parts, BACKBONE: own})
    plan = plan_memory(needs, this_machine(device), choices.memory, wanted)
    _require_fit(spec, plan, choices, device)
    execution = Execution(device, plan, mesh)
    return Opening(spec, replace(choices, quantise=plan.quantise), parts, loras, execution, folder, needs, shapes)


def _read_loras(files: list[tuple[Path, float]], backbone: Part) -> tuple[tuple[Lora, float], ...]:
    """LoRAs and their strengths, read once all of them are known to fit the backbone.

    Raises WeightsError, ConfigError for a strength that is none.
    """
    if files:
        shapes = backbone.shapes()
        for path, strength in files:
            check_strength(strength)
            fit_lora(shapes, path)
    return tuple((read_lora(path), strength) for path, strength in files)


def _trained_kernel(spec: ModelSpec, chosen: str, device: str) -> str:
    """For ``auto``, the kernel that the model was trained with; where it cannot be had, full attention.

    It has a name in either case, so that a run goes on in the same numbers anywhere.
    """
    if chosen != "auto" or spec.attention == "auto":
        return chosen
    lack = why_not(spec.attention) if device.startswith("cuda") else f"{spec.attention} needs a GPU"
    if not lack:
        return spec.attention
    logger.warning("%s was trained with %s attention; all is attended to here: %s", spec.name, spec.attention, lack)
    return "sdpa"


def _weigh(spec: ModelSpec, loras: list[Lora], dtype: Dtype | None) -> Needs:
    """What the model needs; LoRAs stay on the device, as what is in no block does."""
    needs = model_needs(spec, dtype)
    beside = sum(change.down.numel() + change.up.numel() for lora in loras for change in lora.changes.values())
    backbone = needs.parts[BACKBONE]
    worn = replace(backbone, parameters=backbone.parameters + beside, exact=backbone.exact + beside)
    return replace(needs, parts={**needs.parts, BACKBONE: worn})


def _require_fit(spec: ModelSpec, plan: MemoryPlan, choices: Choices, device: str) -> None:
    if plan.fits:
        return
    told = f"{spec.name} takes {plan.needed / GIB:.1f} GiB on {device}, and there are {plan.room / GIB:.1f}"
    if choices.memory in ("low", "full"):
        logger.warning("%s; it is tried as asked", told)
    else:
        raise RequestError(told, hint="choose a smaller model, or try it all the same with --memory low")


def lora_files(spec: ModelSpec, folder: Path, choices: Choices = AS_IT_IS) -> list[tuple[Path, float]]:
    """File and strength of every LoRA: of the one that made a talking model quick, the strength is its expressiveness.

    Raises RequestError for an ``expressiveness`` where the model has no such LoRA.
    """
    files, expressiveness = [split_strength(lora) for lora in choices.loras], choices.expressiveness
    own = [folder / LORA / f"{spec.distillation}.safetensors"] if spec.distillation else own_loras(folder)
    if expressiveness is not None and (not own or spec.params.audio is None):
        raise RequestError(
            f"{spec.name} has no expressiveness to set: it is the strength of the LoRA that made a talking model quick",
            hint="leave it out, or choose longcat-1.5",
        )
    return [*((path, 1.0 if expressiveness is None else expressiveness) for path in own), *files]
