"""``enliven train``: the toon model by a recipe."""

from collections.abc import Sequence
from pathlib import Path

from enliven import config
from enliven.commands.progress import listener


def train(recipe: Path, *, stage: Sequence[str] = (), set: Sequence[str] = ()) -> None:
    """Train the toon model by RECIPE, or only some of its stages; a stopped stage goes on where it was.

    Parameters
    ----------
    recipe
        A TOML file such as examples/toon.toml.
    stage
        A stage to run: speech, hearing, reading, drawing, autoencoder, encoding, backbone. May be given several times.
    set
        Change a setting of the recipe: backbone.minutes=10.

    """
    from enliven.train.toon import ToonRecipe, train_toon

    with listener() as show:
        train_toon(config.parse(ToonRecipe, config.override(config.read(recipe), set)), stage, show)
