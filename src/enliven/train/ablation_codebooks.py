"""Codebooks for ablations: each is a folder of weights that holds nothing else, and lies over those of its model."""

import logging
from collections.abc import Mapping
from pathlib import Path

from enliven.models.codebook import save_codebook
from enliven.models.layered import LABEL, write_label
from enliven.models.networks import CODEBOOK
from enliven.train.codebook import CodebookRecipe, fit_codebook
from enliven.train.made_from import digest, note_made_from, require_made_from
from enliven.types import OnProgress, ignore_progress

log = logging.getLogger(__name__)

CLIPS = ("*.safetensors", "*.parquet", "*.tar")


def fit_codebooks(
    recipes: Mapping[str, CodebookRecipe],
    model: str,
    data: Path,
    weights: Path,
    folder: Path,
    on_progress: OnProgress = ignore_progress,
) -> None:
    """Fit every codebook that is not in ``folder`` yet, on all clips of ``data``.

    Each becomes ``folder/NAME``, which lies over ``weights``: other weights of the same autoencoder may come there.
    Those that differ in their radii alone have the same centroids, which are found once. Raises ConfigError where a
    codebook of the same name was made from anything else, and else as ``fit_codebook``.
    """
    clips = digest(sorted(path for kind in CLIPS for path in data.glob(kind)))
    sources = {name: {"settings": repr(recipe), "clips": clips} for name, recipe in recipes.items()}
    for name in recipes:
        require_made_from(folder / name, sources[name])
    for name, recipe in recipes.items():
        fitted = folder / name
        if not (fitted / LABEL).exists():
            log.info("codebook %s", name)
            keep = folder / f"{recipe.unit} {recipe.size} clusters"
            codebook = fit_codebook(data, recipe, keep=keep, on_progress=on_progress)
            note_made_from(fitted, sources[name])
            save_codebook(codebook, fitted / CODEBOOK)
        write_label(fitted, model, weights)  # last: with it the codebook counts as done
