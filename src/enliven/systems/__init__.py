"""The papers as data: how clips are arranged, what they carry on, which networks run."""

from enliven.config import closest
from enliven.errors import RequestError
from enliven.systems.longcat import LONGCAT, LONGCAT_TOON
from enliven.systems.soul import SOUL, SOUL_FAST, SOUL_TOON
from enliven.systems.spec import ModelSpec

MODELS: dict[str, ModelSpec] = {spec.name: spec for spec in (LONGCAT_TOON, LONGCAT, SOUL_TOON, SOUL, SOUL_FAST)}


def find_model(name: str) -> ModelSpec:
    """The model called ``name``. Raises RequestError for an unknown one."""
    if name not in MODELS:
        hint = closest(name, MODELS) or f"choose one of {', '.join(MODELS)}"
        raise RequestError(f"there is no model {name!r}", hint=hint)
    return MODELS[name]
