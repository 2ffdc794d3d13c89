"""Folders of weights that lie over another: a student has its own backbone and shares the rest with its teacher.

Beside what is its own, such a folder holds ``model.json``, which names its model and the folder it lies over, relative
to itself. What is missing is taken from there. It may hold LoRAs in ``lora`` as well, which are always worn.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from enliven import config
from enliven.errors import ConfigError, WeightsError
from enliven.media.storage import replacing

LABEL = "model.json"
LORA = "lora"


@dataclass(frozen=True, slots=True)
class Label:
    """What a folder says of itself: the name of its model, and where what it lies over is."""

    model: str
    over: str


def read_label(folder: Path) -> Label | None:
    """The label of a folder, None where it has none and lies over nothing. Raises WeightsError."""
    path = folder / LABEL
    if not path.is_file():
        return None
    try:
        return config.parse(Label, dict(json.loads(path.read_text(encoding="utf-8"))))
    except (OSError, TypeError, ValueError, ConfigError) as error:
        raise WeightsError(f"cannot read {path}: {error}", hint="it names a model, and a folder as over") from error


def write_label(folder: Path, model: str, over: Path) -> None:
    """Let a folder lie over another. Raises StorageError."""
    label = Label(model, Path(os.path.relpath(over.resolve(), folder.resolve())).as_posix())
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / LABEL) as part:
        part.write_text(json.dumps(asdict(label), indent=1) + "\n", encoding="utf-8")


def saved_parts(folder: Path) -> dict[str, Path]:
    """The folders of all networks of a folder, those it shares among them, by name. Raises WeightsError."""
    label, shared = read_label(folder), dict[str, Path]()
    if label is not None:
        below = folder / label.over
        if not below.is_dir() or below.resolve() == folder.resolve():
            raise WeightsError(
                f"{folder} lies over {below}, which is not there",
                hint=f"put the weights of its teacher there, or name their folder in {folder / LABEL}",
            )
        shared = saved_parts(below)
    return shared | {path.parent.name: path.parent for path in sorted(folder.glob("*/config.json"))}


def own_loras(folder: Path) -> list[Path]:
    """The LoRAs that a folder which lies over another always wears."""
    return sorted((folder / LORA).glob("*.safetensors")) if (folder / LABEL).is_file() else []
