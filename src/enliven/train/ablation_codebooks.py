"""Codebooks for ablations: each is a folder of weights that holds nothing else, and lies over those of its model."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from enliven.errors import ConfigError
from enliven.models.codebook import save_codebook
from enliven.models.layered import LABEL, write_label
from enliven.models.networks import CODEBOOK
from enliven.train.codebook import CodebookRecipe, fit_codebook
from enliven.types import OnProgress, ignore_progress

log = logging.getLogger(__name__)


def fit_codebooks(
    recipes: Mapping[str, CodebookRecipe],
    model: str,
    data: Sequence[Path],
    weights: Path,
    folder: Path,
    on_progress: OnProgress = ignore_progress,
) -> None:
    """Fit every codebook that is not in ``folder`` yet, on all clips of the one folder of ``data``.

    Each becomes ``folder/NAME``, which lies over ``weights``: other weights of the same autoencoder may come there.
    Those that differ in their radii alone have the same centroids, which are found once. Raises ConfigError also where
    ``data`` are several folders, and else as ``fit_codebook``.
    """
    for name, recipe in recipes.items():
        fitted = folder / name
        if (fitted / LABEL).exists():
            continue
        if len(data) != 1:
            raise ConfigError(
                f"a codebook is fitted on one folder of clips, not on {len(data)}", hint="give one --data"
            )
        log.info("codebook %s", name)
        keep = folder / f"{recipe.unit} {recipe.size} clusters"
        codebook = fit_codebook(data[0], recipe, keep=keep, on_progress=on_progress)
        save_codebook(codebook, fitted / CODEBOOK)
        write_label(fitted, model, weights)  # last: with it the codebook counts as done
