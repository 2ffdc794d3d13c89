"""``enliven distill``: a student that takes few steps without guidance, from a teacher that takes many with it."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def distill(
    recipe: Path,
    /,
    *,
    settings: Annotated[tuple[str, ...], Parameter("--set", show_default=False)] = (),
) -> None:
    """Distill steps and guidance of a model into a student by a recipe; a stopped run goes on where it was.

    Several processes share as many parts of a step:
    torchrun --nproc-per-node 2 -m enliven distill recipe.toml --set parts=2

    Args:
        recipe: A TOML file such as examples/distill-longcat.toml; for a large model, which learns from shards that
            enliven encode has made, such as examples/distill-soul-full.toml.
        settings: NAME=VALUE for anything in the recipe, for example minutes=10.

    """
    from enliven import config
    from enliven.commands.console import say
    from enliven.commands.progress import listener
    from enliven.train.student import StudentRecipe
    from enliven.train.student import distill as make_student

    whole = config.parse(StudentRecipe, config.override(config.read(recipe), settings))
    with listener() as tell:
        weights = make_student(whole, tell)
    say(f"{weights}: {whole.model}, for enliven generate --weights {weights}")
