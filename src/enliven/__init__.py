"""Bring a portrait to life: a portrait, speech and a sentence go in; a talking video of any length comes out.

from pathlib import Path
from enliven import AvatarPipeline, GenerateRequest

pipeline = AvatarPipeline.load("longcat-toon-4step")
video = pipeline.generate(GenerateRequest(portrait=Path("me.png"), audio=(Path("speech.wav"),)))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from enliven.errors import EnlivenError
    from enliven.media.regions import Box
    from enliven.media.voices import Turns
    from enliven.pipeline import AvatarPipeline
    from enliven.request import GenerateRequest, Scales, Scene
    from enliven.run import resume, start
    from enliven.runtime.choices import Choices
    from enliven.systems import MODELS, find_model
    from enliven.systems.spec import ModelSpec
    from enliven.types import Audio, Progress, Video

__all__ = [
    "MODELS",
    "Audio",
    "AvatarPipeline",
    "Box",
    "Choices",
    "EnlivenError",
    "GenerateRequest",
    "ModelSpec",
    "Progress",
    "Scales",
    "Scene",
    "Turns",
    "Video",
    "find_model",
    "resume",
    "start",
]

HOMES = {
    "errors": ("EnlivenError",),
    "media.regions": ("Box",),
    "media.voices": ("Turns",),
    "pipeline": ("AvatarPipeline",),
    "request": ("GenerateRequest", "Scales", "Scene"),
    "run": ("resume", "start"),
    "runtime.choices": ("Choices",),
    "systems": ("MODELS", "find_model"),
    "systems.spec": ("ModelSpec",),
    "types": ("Audio", "Progress", "Video"),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that ``import enliven`` stays light."""
    for module, names in HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
