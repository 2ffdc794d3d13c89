"""The papers as data: how clips are arranged, what they carry on, which networks run."""

from pathlib import Path

from enliven.config import closest
from enliven.errors import RequestError
from enliven.models.networks import PARTS, find_hearing, read_params
from enliven.models.releases import Release, variants_in
from enliven.systems.longcat import (
    LONGCAT,
    LONGCAT_1_5,
    LONGCAT_1_5_INT8,
    LONGCAT_1_5_UNDISTILLED,
    LONGCAT_MULTI,
    LONGCAT_TOON,
)
from enliven.systems.soul import SOUL, SOUL_FAST, SOUL_TOON
from enliven.systems.spec import ModelSpec

SPECS = (
    *(LONGCAT_TOON, LONGCAT, LONGCAT_MULTI, LONGCAT_1_5, LONGCAT_1_5_INT8, LONGCAT_1_5_UNDISTILLED),
    *(SOUL_TOON, SOUL, SOUL_FAST),
)
MODELS: dict[str, ModelSpec] = {spec.name: spec for spec in SPECS}
DEFAULT_MODEL = LONGCAT_TOON.name


def find_model(name: str) -> ModelSpec:
    """The model called ``name``. Raises RequestError for an unknown one."""
    if name not in MODELS:
        hint = closest(name, MODELS) or f"choose one of {', '.join(MODELS)}"
        raise RequestError(f"there is no model {name!r}", hint=hint)
    return MODELS[name]


def choose_model(name: str | None = None, weights: Path | None = None) -> ModelSpec:
    """The model called ``name``; without a name the one that a folder of ``weights`` is for, or the default.

    Raises RequestError for an unknown name and for weights of another model, and WeightsError for a folder that holds
    no model.
    """
    if weights is None:
        return find_model(name or DEFAULT_MODEL)
    release = find_hearing(weights)
    fitting = _published(weights, release) if release else _saved(weights)
    if name is None and fitting:
        return fitting[0]
    if name is not None and _runs_on(find_model(name), weights, release):
        return find_model(name)
    wanted = f"is not what the model {name} runs on" if name else "is of the size of no model"
    raise RequestError(
        f"{weights} holds {release.name if release else 'a network'}, which {wanted}",
        hint=f"choose {' or '.join(spec.name for spec in fitting or MODELS.values())}",
    )


def _published(weights: Path, release: Release) -> list[ModelSpec]:
    """The models whose variant lies in a published folder."""
    there = variants_in(release, weights)
    return [spec for spec in MODELS.values() if spec.release is release and spec.variant in there]


def _saved(weights: Path) -> list[ModelSpec]:
    """The models that a saved backbone has the size of, or else the name and the kind."""
    sizes = read_params(weights / PARTS[0] / "config.json")
    same = [spec for spec in MODELS.values() if spec.params.backbone == sizes]
    named = MODELS.get(weights.resolve().name)
    return same or ([named] if named and isinstance(sizes, type(named.params.backbone)) else [])


def _runs_on(spec: ModelSpec, weights: Path, release: Release | None) -> bool:
    """Whether a model can run on what a folder holds: of its release in any variant, or of its kind in any size."""
    if release is not None:
        return spec.release is release
    return isinstance(read_params(weights / PARTS[0] / "config.json"), type(spec.params.backbone))
