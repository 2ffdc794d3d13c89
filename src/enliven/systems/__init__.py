"""The papers as data: how clips are arranged, what they carry on, which networks run."""

from pathlib import Path

from enliven.config import closest
from enliven.errors import RequestError, WeightsError
from enliven.models.layered import read_label, saved_parts
from enliven.models.networks import PARTS, Params, published_in, read_params
from enliven.models.releases import Release, variants_in
from enliven.systems.longcat import (
    LONGCAT,
    LONGCAT_1_5,
    LONGCAT_1_5_INT8,
    LONGCAT_1_5_UNDISTILLED,
    LONGCAT_MULTI,
    LONGCAT_TOON,
    LONGCAT_TOON_4STEP,
)
from enliven.systems.longcat_video import LONGCAT_VIDEO, LONGCAT_VIDEO_720P, LONGCAT_VIDEO_FAST
from enliven.systems.soul import SOUL, SOUL_FAST, SOUL_TOON, SOUL_TOON_4STEP
from enliven.systems.spec import ModelSpec

SPECS = (
    *(LONGCAT_TOON, LONGCAT_TOON_4STEP, LONGCAT, LONGCAT_MULTI, LONGCAT_1_5, LONGCAT_1_5_INT8, LONGCAT_1_5_UNDISTILLED),
    *(LONGCAT_VIDEO, LONGCAT_VIDEO_FAST, LONGCAT_VIDEO_720P),
    *(SOUL_TOON, SOUL_TOON_4STEP, SOUL, SOUL_FAST),
)
MODELS: dict[str, ModelSpec] = {spec.name: spec for spec in SPECS}
DEFAULT_MODEL = LONGCAT_TOON_4STEP.name


def offered() -> list[ModelSpec]:
    """The models to choose from: all but students that have not been trained yet, whose teachers are here."""
    return [spec for spec in MODELS.values() if not (is_here(spec.teacher) and not is_here(spec.name))]


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
    release = published_in(weights)
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


def is_here(name: str | None) -> bool:
    """Whether there is a model of that name, and its weights are where they are looked for."""
    try:
        return name in MODELS and MODELS[name].weights.is_dir()
    except WeightsError:
        return False


def _published(weights: Path, release: Release) -> list[ModelSpec]:
    """The models whose variant lies in a published folder."""
    there = variants_in(release, weights)
    return [spec for spec in MODELS.values() if spec.release is release and spec.variant in there]


def _saved(weights: Path) -> list[ModelSpec]:
    """The models that a saved backbone has the size of, or else the name and the kind."""
    sizes, label = _sizes(weights), read_label(weights)
    if label is not None and label.model in MODELS:
        return [MODELS[label.model]]
    same = [spec for spec in MODELS.values() if spec.params.backbone == sizes]
    named = MODELS.get(weights.resolve().name)
    return same or ([named] if named and isinstance(sizes, type(named.params.backbone)) else [])


def _runs_on(spec: ModelSpec, weights: Path, release: Release | None) -> bool:
    """Whether a model can run on what a folder holds: of its release in any variant, or of its kind in any size."""
    if release is not None:
        return spec.release is release
    return isinstance(_sizes(weights), type(spec.params.backbone))


def _sizes(weights: Path) -> Params:
    """Those of a saved backbone."""
    return read_params(saved_parts(weights).get(PARTS[0], weights / PARTS[0]) / "config.json")
