"""The latents of encoded clips, wherever these lie: in files of their own, or in shards."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from enliven.data.encoded import EncodedClip, load_encoded
from enliven.data.failures import shows_failure
from enliven.data.manifest import Row, read_manifest
from enliven.data.shards import ShardReader
from enliven.errors import ConfigError

AGAIN = "remove it, or encode it again"


@dataclass(frozen=True, slots=True)
class StoredClip:
    """An encoded clip that has not been read. ``name`` is the same in a file and in a shard, ``place`` says where."""

    name: str
    place: str
    read: Callable[[], EncodedClip]

    def __str__(self) -> str:
        return self.place

    def latents(self) -> Float[Tensor, "c t h w"]:
        """Its latents. Raises ConfigError where there are none, or some that are not finite; MediaError in a shard."""
        try:
            latents = self.read().latents
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{self.place} is not an encoded clip: {error}", hint=AGAIN) from error
        if not latents.isfinite().all():
            raise ConfigError(f"{self.place} holds latents that are not finite", hint=AGAIN)
        return latents


def find_clips(folder: Path) -> list[StoredClip]:
    """The encoded clips of a folder, by name: files, and what lies in shards. Failures are left out.

    No latent should be led back to what is as it should not be, drawn or made by a model. Raises as ``read_manifest``.
    """
    files = [_in_file(path) for path in folder.glob("*.safetensors") if not shows_failure(_caption(path))]
    return sorted([*files, *_in_shards(folder)], key=lambda clip: clip.name)


def _in_file(path: Path) -> StoredClip:
    return StoredClip(path.name, str(path), partial(load_encoded, path))


def _in_shards(folder: Path) -> list[StoredClip]:
    if not any(folder.glob("*.parquet")):
        return []
    reader, rows = ShardReader(folder), read_manifest(folder).table.to_pylist()
    return [
        StoredClip(f"{row.key}.safetensors", f"{row.key} in {folder / row.shard}", partial(reader.read, row))
        for row in (Row(**values) for values in rows)
        if not shows_failure(row.caption, row.source)
    ]


def _caption(path: Path) -> str | None:
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get("caption")
    except (OSError, SafetensorError):
        return None  # it is refused when it is read
