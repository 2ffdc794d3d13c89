"""``enliven train``: a toon model by a recipe."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def train(
    recipe: Path,
    /,
    *,
    stages: Annotated[tuple[str, ...], Parameter("--stage", show_default=False)] = (),
    settings: Annotated[tuple[str, ...], Parameter("--set", show_default=False)] = (),
) -> None:
    """Train a toon model by a recipe, or only some of its stages; a stopped stage goes on where it was.

    Args:
        recipe: A TOML file such as examples/toon.toml.
        stages: A stage to run: speech, hearing, reading, drawing, autoencoder, encoding, backbone. Repeat for several.
        settings: NAME=VALUE for anything in the recipe, for example backbone.minutes=10.

    """
    from enliven import config
    from enliven.commands.progress import listener
    from enliven.train.toon import ToonRecipe, train_toon

    whole = config.parse(ToonRecipe, config.override(config.read(recipe), settings))
    with listener() as tell:
        train_toon(whole, stages, tell)
