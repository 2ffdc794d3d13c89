"""Speech features kept on disk: a recording heard once is not encoded again, and an hour of it need not be in memory.

    ENLIVEN_CACHE=/large/disk enliven generate ...

Files are safetensors, written piece by piece. Only the windows asked for are read, and no file is mapped: what was read
of a map stays in memory. A disk that is full or read-only costs nothing but the saving.
"""

import hashlib
import json
import logging
import os
import shutil
import sys
import threading
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from enliven.errors import StorageError
from enliven.media.storage import replacing, storage_error
from enliven.models.audio import AudioEncoder, AudioFrames, SpeechFeatures

VARIABLE = "ENLIVEN_CACHE"
VERSION = 1  # of what encoders compute: raised when the same weights hear otherwise than before
NAME = "features"  # of the tensor in a file
SAMPLED = 64  # values of a weight that tell it from another
ABANDONED = 24 * 3600  # seconds after which an unfinished file has no writer any more

log = logging.getLogger(__name__)
_writing = threading.Lock()


def cache_folder() -> Path:
    """Where caches live: ``ENLIVEN_CACHE``, or what the system means for it."""
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE])
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "enliven"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "enliven" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "enliven"


class StoredFeatures:
    """Audio frames in a safetensors file, each stretch read when asked for: ``AudioFrames``.

    The file stays open, and so readable on a disk of this machine, when the cache drops it meanwhile. Raises OSError
    or SafetensorError for a file that is not whole, and StorageError when it can no longer be read later.
    """

    def __init__(self, path: Path) -> None:
        with safe_open(path, "pt") as file:
            stored = file.get_slice(NAME)
            self.shape, self.dtype = torch.Size(stored.get_shape()), stored.get_dtype()
        if self.dtype != "F32" or len(self.shape) != 3:
            raise SafetensorError(f"expected frames of F32 [a layers c], found {self.dtype} {tuple(self.shape)}")
        self._file = path.open("rb")
        self._start = 8 + int.from_bytes(self._file.read(8), "little")
        self._reading = threading.Lock()
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, frames: slice) -> Float[Tensor, "_ layers c"]:
        first, stop, _ = frames.indices(len(self))
        read = torch.empty(max(0, stop - first), *self.shape[1:])
        try:
            with self._reading:
                self._file.seek(self._start + 4 * first * self.shape[1:].numel())
                whole = self._file.readinto(read.numpy().data) == 4 * read.numel()
        except OSError as error:
            raise self._lost(str(error)) from error
        if not whole:
            raise self._lost("it became shorter")
        return read

    def _lost(self, why: str) -> StorageError:
        name = self._file.name
        return StorageError(f"{name} can no longer be read: {why}", hint=f"delete {name} and try again")


@dataclass(frozen=True, slots=True)
class FeatureCache:
    """Features in ``folder``, at most ``most_bytes`` of them: those not used for longest go first."""

    folder: Path = field(default_factory=lambda: cache_folder() / "speech")
    most_bytes: int = 8 * 2**30

    def encode(self, encoder: AudioEncoder, samples: Float[Tensor, "n"], *, seed: int = 0) -> SpeechFeatures:
        """What ``encoder.encode`` gives, from disk where it was encoded before. Raises MediaError for no sound."""
        prepared = encoder.prepare(samples, seed=seed)
        path = self.folder / f"{feature_key(encoder, prepared)}.safetensors"
        stored = self._read(path)
        features = self._make(path, encoder, prepared) if stored is None else stored
        return SpeechFeatures(features, encoder.rate, encoder.outside)

    def _read(self, path: Path) -> StoredFeatures | None:
        """The features of a file; None where there is no whole one."""
        try:
            features = StoredFeatures(path)
        except (OSError, SafetensorError):
            return None
        with suppress(OSError):  # a read-only disk
            os.utime(path)
        return features

    def _make(self, path: Path, encoder: AudioEncoder, prepared: Float[Tensor, "n"]) -> AudioFrames:
        """Encode onto disk, or into memory where the disk does not take it."""
        shape = (encoder.frames(len(prepared)), encoder.layers, encoder.channels)
        with _writing:  # threads that want the same sound encode it once
            features = self._read(path)
            if features is None and self._has_room(4 * torch.Size(shape).numel()):
                try:
                    _write(path, encoder, prepared, shape)
                    self._forget(path)
                except StorageError as error:
                    log.info("speech features are not cached: %s", error)
                features = self._read(path)
        return torch.cat(list(encoder.listen(prepared))) if features is None else features

    def _has_room(self, size: int) -> bool:
        """Whether a new file is allowed and fits, before any work is put into it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            return size <= min(self.most_bytes, shutil.disk_usage(self.folder).free)
        except OSError as error:
            log.info("speech features are not cached: %s", storage_error(self.folder, error))
            return False

    def _forget(self, kept: Path) -> None:
        """Drop what was not used for longest until the rest fits, and files that nobody finishes."""
        for part in self.folder.glob(".*.part"):
            with suppress(OSError):
                if time.time() - part.stat().st_mtime > ABANDONED:
                    part.unlink()
        total = 0
        for path in sorted(self.folder.glob("*.safetensors"), key=lambda path: (path != kept, -_used(path))):
            with suppress(OSError):
                total += path.stat().st_size
                if path != kept and total > self.most_bytes:
                    path.unlink()


def feature_key(encoder: AudioEncoder, prepared: Float[Tensor, "n"]) -> str:
    """A name that another sound, other weights or another way to hear would change."""
    total = hashlib.sha256(encoder_fingerprint(encoder).encode())
    total.update(prepared.contiguous().numpy().data)
    return total.hexdigest()


def encoder_fingerprint(encoder: AudioEncoder) -> str:
    """A number for sizes, settings and weights of an encoder; of every weight, values from all over it are hashed."""
    network: Any = encoder.network
    settings = {name: value for name, value in vars(encoder).items() if isinstance(value, float)}
    sizes = {name: value for name, value in network.config.to_dict().items() if name != "transformers_version"}
    said = {"version": VERSION, "kind": type(encoder).__name__, "settings": settings, "sizes": sizes}
    total = hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode())
    for name, value in network.state_dict().items():
        sample = value.flatten()[:: max(1, value.numel() // SAMPLED)].double().cpu().numpy().tobytes()
        total.update(f"{name} {tuple(value.shape)} {value.dtype} {value.device.type}".encode() + sample)
    return total.hexdigest()


def _write(path: Path, encoder: AudioEncoder, prepared: Float[Tensor, "n"], shape: tuple[int, ...]) -> None:
    """Encode into a file, piece by piece. Raises StorageError."""
    size = 4 * torch.Size(shape).numel()
    header = json.dumps({NAME: {"dtype": "F32", "shape": shape, "data_offsets": (0, size)}}).encode()
    header += b" " * (-len(header) % 8)  # numbers begin at a multiple of their size
    with replacing(path) as part, part.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for piece in encoder.listen(prepared):
            file.write(piece.contiguous().numpy().data)


def _used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another process has dropped it
        return 0.0
