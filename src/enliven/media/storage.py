"""Files that appear whole or not at all."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from enliven.errors import StorageError

HINTS = {
    errno.ENOSPC: "free some space or write to another disk",
    errno.EDQUOT: "your quota is used up: free some space or write to another disk",
    errno.EFBIG: "the file would be larger than this system allows; write to another disk",
    errno.EACCES: "you may not write there; choose another folder or change its permissions",
    errno.EPERM: "you may not write there; choose another folder or change its permissions",
    errno.EROFS: "that disk is read-only; choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "a part of that path is a file, not a folder; choose another path",
    errno.ENOENT: "create the folder first, or choose another",
}


def check_target(path: Path) -> Path:
    """The absolute path of a file that can be written, before any work is put into it. Raises StorageError."""
    path = Path(path)
    try:
        path = path.resolve()
        if path.is_dir():
            raise StorageError(f"{path} is a folder; a file name was expected", hint="add a file name to it")
        if path.exists() and not path.is_file():
            raise StorageError(f"{path} is not an ordinary file", hint="choose another name")
        probe = _beside(path)
        probe.touch()
        probe.unlink()
    except (OSError, ValueError) as error:
        raise storage_error(path, error) from None
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write to the temporary path given; it takes the name ``path`` when the block ends, flushed to disk.

    If the block raises, the temporary file goes and ``path`` keeps what it held. Raises StorageError when the disk
    refuses.
    """
    path = check_target(path)
    part = _beside(path)
    try:
        yield part
        _flush(part)
        part.replace(path)
        _flush(path.parent)
    except (OSError, SafetensorError) as error:
        raise storage_error(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def storage_error(path: Path, error: Exception) -> StorageError:
    """What the system said about writing ``path``, with what can be done."""
    told = re.search(r"\(os error (\d+)\)", str(error))  # as safetensors says it
    number = int(told[1]) if told else getattr(error, "errno", None)
    reason = os.strerror(number).lower() if number else str(error)
    return StorageError(f"{path} cannot be written: {reason}", hint=HINTS.get(number or 0, "choose another path"))


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
