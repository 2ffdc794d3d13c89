"""Shipped recipes of toon models, as short as they can be."""

import shutil
from dataclasses import replace
from pathlib import Path

from enliven import config
from enliven.toonworld.voice import SHIPPED
from enliven.train.toon_recipe import ToonRecipe

EXAMPLES = Path(__file__).parents[1] / "examples"


def short_recipe(example: str, tmp_path: Path) -> ToonRecipe:
    """A shipped recipe, two clips of each kind long, with shipped sentences in place of new ones."""
    shipped = config.parse(ToonRecipe, config.read(EXAMPLES / example))
    (tmp_path / "speech").mkdir()
    for name in ("ciao", "bonjour", "guten-tag"):
        for suffix in ("flac", "json"):
            shutil.copy(SHIPPED / f"{name}.{suffix}", tmp_path / "speech")
    groups = {name: replace(each, clips=min(2, each.clips)) for name, _, each in shipped.groups}
    pictures = replace(shipped.pictures, clips=min(2, shipped.pictures.clips))
    short = replace(shipped, folder=tmp_path, weights=tmp_path / "weights", clips=2, frames=9)
    return replace(short, pictures=pictures, **groups)
