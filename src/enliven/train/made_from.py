"""What something was made from, told beside it: what is there goes on, and counts as done, only where it is the same.

Names alone do not tell: recipes, weights and clips change, and keep theirs.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from enliven.errors import ConfigError
from enliven.media.storage import replacing

FILE = "made_from.json"
READ = 4096  # bytes of each file, from its middle


def require_made_from(folder: Path, sources: Mapping[str, str]) -> None:
    """Require that what is in ``folder`` was made from these, by their names; nothing may be there yet.

    Raises ConfigError with what differs, or where the folder does not tell.
    """
    if not folder.is_dir() or all(path.name.startswith(".") for path in folder.iterdir()):
        return
    path, hint = folder / FILE, "remove that folder to make it anew, or name another"
    if not path.exists():
        raise ConfigError(f"{folder} does not tell what it was made from", hint=hint)
    told = json.loads(path.read_text(encoding="utf-8"))
    changed = [name for name, value in sources.items() if told.get(name) != value]
    if changed:
        raise ConfigError(f"{folder} was made from other {' and '.join(changed)}", hint=hint)


def note_made_from(folder: Path, sources: Mapping[str, str]) -> None:
    """Tell it in a folder before anything is made there. Raises StorageError."""
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / FILE) as part:
        part.write_text(json.dumps(dict(sources), indent=1) + "\n", encoding="utf-8")


def digest(paths: Iterable[Path]) -> str:
    """A number that other files would change: of each its name, its size and what is in its middle."""
    total = hashlib.sha256()
    for path in paths:
        size = path.stat().st_size
        total.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            file.seek(max(0, (size - READ) // 2))
            total.update(file.read(READ))
    return total.hexdigest()[:16]
