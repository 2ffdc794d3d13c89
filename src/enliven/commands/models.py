"""``enliven models``: which models there are, what they do, and whether their weights are here."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from enliven.systems.spec import ModelSpec


def models() -> None:
    """List the models: clip and picture sizes, steps, and where the weights are."""
    from enliven.commands.console import say
    from enliven.systems import MODELS

    say("\n\n".join(description(spec) for spec in MODELS.values()))


def description(spec: "ModelSpec") -> str:
    """What a model is, in a few lines."""
    geometry, (height, width) = spec.geometry, spec.size
    clip = f"{geometry.frames} frames, {geometry.context} of them repeated, at {geometry.fps} a second"
    return "\n".join(
        [
            f"{spec.name}: {spec.summary}",
            f"  picture   {width}x{height}",
            f"  clip      {clip}",
            f"  sampling  {spec.steps} steps, {spec.guidance}",
            f"  weights   {place(spec)}",
        ]
    )


def place(spec: "ModelSpec") -> str:
    """Where the weights of a model are, and how large; or why they are not."""
    from enliven.errors import WeightsError

    try:
        folder = spec.weights
    except WeightsError as error:
        return f"not here: {error.hint}"
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return f"{size / 2**20:.1f} MiB in {folder}"
