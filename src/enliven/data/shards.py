"""Encoded clips in tar files, as WebDataset has them: ``shard_000_00000.tar`` holds ``KEY.safetensors``, one a clip.

A shard counts once its manifest, ``shard_000_00000.parquet``, lies beside it; clips are then read by their place in it,
without reading what stands before.
"""

import fcntl
import io
import json
import os
import tarfile
import zlib
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save

from enliven.data.encoded import EncodedClip, put_together, taken_apart
from enliven.data.manifest import Row, write_rows
from enliven.errors import ConfigError, MediaError
from enliven.media.storage import storage_error

SHARD_BYTES = 256 * 2**20
MOST_OPEN = 64
NAME = "shard_{rank:03}_{number:05}"


class ShardWriter:
    """Adds clips to a folder, shard after shard; process ``rank`` of several never touches what others write.

    What is in a shard is safe when it is full, or the writer is left; else it is lost with the process. Entering raises
    ConfigError where another process writes as the same ``rank``, and StorageError.
    """

    def __init__(self, folder: Path, rank: int = 0, shard_bytes: int = SHARD_BYTES) -> None:
        self.folder, self.rank, self.shard_bytes = folder, rank, shard_bytes
        self.rows: list[Row] = []
        self.tar: tarfile.TarFile | None = None
        self.name = ""

    def __enter__(self) -> "ShardWriter":
        path = self.folder / f".{self.rank:03}.lock"
        try:
            self.lock = path.open("w")
        except OSError as error:
            raise storage_error(path, error) from error
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # goes with the process
        except OSError:
            self.lock.close()
            raise ConfigError(
                f"part {self.rank} of the shards in {self.folder} is being written already",
                hint="wait until that is done, or give each process a --part of its own",
            ) from None
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Also what a stopped process has made is kept."""
        with self.lock:
            self.close()

    def add(self, clip: EncodedClip, source: str, start: int) -> None:
        """Put a clip behind the others. Raises StorageError."""
        tensors, metadata = taken_apart(clip)
        data = save(tensors, metadata)
        try:
            tar = self.tar or self._open()
            key = f"{self.name.removeprefix('shard_')}_{len(self.rows):06}"
            entry = tarfile.TarInfo(f"{key}.safetensors")
            entry.size = len(data)
            offset = tar.offset + tarfile.BLOCKSIZE  # behind the one block of a short name
            tar.addfile(entry, io.BytesIO(data))
        except OSError as error:
            raise storage_error(self.folder / self.name, error) from error
        people, features = clip.audio.shape[:2]
        _, latents, height, width = clip.latents.shape
        row = Row(
            key=key,
            shard=f"{self.name}.tar",
            offset=offset,
            size=len(data),
            checksum=zlib.crc32(data),
            source=source,
            start=start,
            caption=clip.caption,
            silent=clip.silent,
            people=people,
            latents=latents,
            height=height,
            width=width,
            features=features,
        )
        self.rows.append(row)
        if tar.offset >= self.shard_bytes:
            self.close()

    def close(self) -> None:
        """Finish the shard; a further clip begins another. Raises StorageError."""
        if self.tar is None:
            return
        try:
            self.tar.close()
            os.replace(self._part(), self.folder / f"{self.name}.tar")
        except OSError as error:
            raise storage_error(self.folder / self.name, error) from error
        write_rows(self.folder / f"{self.name}.parquet", self.rows)
        self.tar, self.rows = None, []

    def _open(self) -> tarfile.TarFile:
        number = 0
        while (self.folder / f"{NAME.format(rank=self.rank, number=number)}.parquet").exists():
            number += 1
        self.name = NAME.format(rank=self.rank, number=number)
        self.tar = tarfile.open(self._part(), "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        return self.tar

    def _part(self) -> Path:
        return self.folder / f".{self.name}.part"


class ShardReader:
    """Reads clips of a folder by their rows; shards stay open, so that each clip is one read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.open: dict[str, int] = {}

    def read(self, row: Row) -> EncodedClip:
        """One clip. Raises MediaError where it is not there, or not what was written."""
        try:
            data = os.pread(self._descriptor(row.shard), row.size, row.offset)
        except OSError as error:
            raise MediaError(f"{self.folder / row.shard} cannot be read: {error}", hint="encode it again") from error
        if zlib.crc32(data) != row.checksum:
            raise MediaError(f"{row.key} in {self.folder / row.shard} is damaged", hint="encode it again")
        try:
            header: dict[str, Any] = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            return put_together(load(data), header["__metadata__"])
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise MediaError(f"{row.key} in {row.shard} is no encoded clip: {error}", hint="encode it again") from error

    def close(self) -> None:
        """Let go of all files."""
        for descriptor in self.open.values():
            with suppress(OSError):
                os.close(descriptor)
        self.open = {}

    def _descriptor(self, shard: str) -> int:
        if shard not in self.open:
            if Path(shard).name != shard:
                raise MediaError(f"{shard!r} is no file in {self.folder}", hint="do not trust that manifest")
            if len(self.open) >= MOST_OPEN:
                os.close(self.open.pop(next(iter(self.open))))
            self.open[shard] = os.open(self.folder / shard, os.O_RDONLY)
        return self.open[shard]
