"""Published pickles as safetensors. They are read as tensors alone: whatever else is in one is refused, and not run."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from enliven.errors import WeightsError
from enliven.media.storage import replacing
from enliven.models.stored import PUBLISHED, find_pickles

NOT_TENSORS = "it may be a whole program; take the weights from another publication"


def convert_pickles(folder: Path) -> list[Path]:
    """Write the weights of a folder beside their pickles; returns the new files. Nothing is written unless all can be.

    Raises WeightsError for a folder without pickles, with safetensors, or with pickles of several saves, and for a
    pickle that holds anything but tensors; StorageError.
    """
    if not folder.is_dir():
        raise WeightsError(f"there is no folder {folder}", hint="give the folder that the pickle is in")
    there = sorted(folder.glob("*.safetensors"))
    if there:
        raise WeightsError(f"{folder} holds {there[0].name} already", hint="nothing needs to be converted there")
    found = find_pickles(folder)
    if not found:
        raise WeightsError(f"there is no pickle in {folder}", hint=f"expected {PUBLISHED}.bin there")
    targets = [_target(path) for path in found]
    if len(set(targets)) < len(found) or (len(found) > 1 and not all(p.name.startswith(PUBLISHED) for p in found)):
        names = ", ".join(path.name for path in found)
        raise WeightsError(f"{folder} holds several pickles: {names}", hint="leave the one that holds the weights")
    states = [_tensors(path) for path in found]
    with ExitStack() as written:  # all take their names together
        for target, state in zip(targets, states, strict=True):
            save_file(state, written.enter_context(replacing(target)), {"format": "pt"})
    return targets


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what is damaged makes its reader fail in many ways
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path} cannot be read as tensors alone: {reason}", hint=NOT_TENSORS) from None
    if not isinstance(state, Mapping) or not all(map(_plain, state.values())):
        raise WeightsError(f"{path} holds something else than plain tensors by name", hint=NOT_TENSORS)
    return {str(name): value.clone().contiguous() for name, value in state.items()}  # each with memory of its own


def _plain(value: object) -> bool:
    """Whether it is a tensor as weights are, and no larger than the memory that was stored for it."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta:
        return False
    return not (value.is_quantized or value.is_complex()) and value.nbytes <= value.untyped_storage().nbytes()


def _target(path: Path) -> Path:
    return path.with_name(f"{path.stem.replace(PUBLISHED, 'model')}.safetensors")
