"""Which tensors lie in files of weights, read from their headers alone; not a byte of a tensor is touched.

A safetensors file is the length of its header (8 bytes), the header in JSON, and the tensors.
"""

import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enliven.errors import WeightsError

LENGTH = 8
MOST_HEADER_BYTES = 100 * 2**20
WHOLE = ("model.safetensors", "diffusion_pytorch_model.safetensors", "quantized_model.safetensors")
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
FETCH = "fetch it again"
PUBLISHED = "pytorch_model"  # how the names of published pickles begin
RENAME = f"rename it to {PUBLISHED}.bin, then: "
# How files begin that carry the name of weights and hold something else.
STRANGERS = {
    b"version https://git-lfs": ("a git-lfs pointer, not the weights", "run git lfs pull there, or download the file"),
    b"PK\x03\x04": ("a pickle under another name", RENAME),
    b"\x80\x02": ("a pickle under another name", RENAME),
    b"<": ("a web page, not weights", "the download was refused, perhaps for want of a login; fetch it again"),
}


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor in a file; ``dtype`` in the words of safetensors, as ``BF16`` or ``I8``."""

    path: Path
    shape: tuple[int, ...]
    dtype: str
    nbytes: int


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of one network: those its index names, or the whole one, or all there are.

    Raises WeightsError where there are none, and where the index names some that are missing.
    """
    indices, files = sorted(folder.glob("*.safetensors.index.json")), sorted(folder.glob("*.safetensors"))
    if indices:
        return _indexed(indices[0])
    if files:
        return next(([path] for name in WHOLE for path in files if path.name == name), files)
    if not folder.is_dir():
        raise WeightsError(f"there is no folder {folder}", hint="compare the folder with the published one")
    pickles = find_pickles(folder)
    if pickles:
        raise WeightsError(
            f"{pickles[0]} is a pickle; only safetensors are read", hint=f"convert it: {convert(folder)}"
        )
    raise WeightsError(f"no weights in {folder}", hint="expected .safetensors files there")


def find_pickles(folder: Path) -> list[Path]:
    """The pickles of a folder: those that are named as published weights are, or else all."""
    found = sorted(path for path in folder.iterdir() if path.suffix in PICKLES)
    return [path for path in found if path.name.startswith(PUBLISHED)] or found


def read_headers(files: Iterable[Path]) -> dict[str, Stored]:
    """All tensors of the files by name. Raises WeightsError for a file that is missing, cut short or something else."""
    stored: dict[str, Stored] = {}
    for path in files:
        found = _read_header(path)
        twice = next((name for name in found if name in stored), None)
        if twice is not None:
            raise WeightsError(
                f"{twice} is in both {stored[twice].path.name} and {path.name} of {path.parent}",
                hint="keep the files of one save in the folder",
            )
        stored |= found
    return stored


def _indexed(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        files = [index.parent / name for name in names]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise WeightsError(f"{index} is not an index of weights: {error}", hint=FETCH) from error
    missing = [path.name for path in files if not path.is_file()]
    if missing:
        raise WeightsError(
            f"{len(missing)} of {len(files)} files of weights are missing in {index.parent}: {', '.join(missing)}",
            hint="finish the download; what is complete is not fetched again",
        )
    return files


def _read_header(path: Path) -> dict[str, Stored]:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(64)
            length = int.from_bytes(start[:LENGTH], "little")
            if start[LENGTH : LENGTH + 1] != b"{":
                _refuse_strangers(path, start)
            if size < LENGTH or LENGTH + length > size or length > MOST_HEADER_BYTES:
                raise _cut_short(path, f"its {size} bytes end within the header")
            file.seek(LENGTH)
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        stored = {name: _stored(path, entry) for name, entry in header.items()}
        end = LENGTH + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"cannot read {path}: {error}", hint=f"it is missing or damaged: {FETCH}") from error
    if size < end:
        raise _cut_short(path, f"it has {size} of {end} bytes")
    return stored


def _stored(path: Path, entry: dict[str, Any]) -> Stored:
    first, end = entry["data_offsets"]
    return Stored(path, tuple(entry["shape"]), entry["dtype"], end - first)


def _refuse_strangers(path: Path, start: bytes) -> None:
    for beginning, (what, hint) in STRANGERS.items():
        if start.startswith(beginning):
            raise WeightsError(f"{path} is {what}", hint=hint + convert(path.parent) if hint == RENAME else hint)


def _cut_short(path: Path, found: str) -> WeightsError:
    return WeightsError(f"{path} is cut short: {found}", hint=FETCH)


def convert(folder: Path) -> str:
    """The command that makes safetensors of a folder's pickles."""
    return f"enliven models convert {shlex.quote(str(folder))}"
