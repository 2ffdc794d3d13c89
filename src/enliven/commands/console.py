"""Where the commands speak: results on standard output, everything about the way there on standard error."""

from pathlib import Path

from rich.console import Console

from enliven.errors import ConfigError
from enliven.media.storage import check_target, storage_error
from enliven.runtime.launch import leads


def say(*lines: str) -> None:
    """Write ``lines`` to standard output as they are; of several processes, the first does."""
    if leads():
        Console(soft_wrap=True, highlight=False, markup=False).print(*lines, sep="\n")


def target(path: Path, *suffixes: str) -> Path:
    """A file that can be written, its folder made where it is missing.

    Raises:
        ConfigError: when the name ends in none of ``suffixes``.
        StorageError: when the disk refuses.

    """
    if path.suffix.lower() not in suffixes:
        raise ConfigError(
            f"{path} does not end in {' or '.join(suffixes)}", hint=f"try {path.with_suffix(suffixes[0])}"
        )
    make_folder(path.parent)
    return check_target(path)


def make_folder(path: Path) -> Path:
    """The folder, made where it is missing. Raises StorageError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(path, error) from None
    return path
