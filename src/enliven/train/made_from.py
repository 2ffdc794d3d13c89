"""What something was made of, told beside it: what is there goes on, and counts as done, only where it is of the same.

Names alone do not tell: recipes, weights and clips change, and keep theirs.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from enliven.errors import ConfigError
from enliven.media.storage import replacing

FILE = "made_from.json"


def require_same(folder: Path, made_of: Mapping[str, str]) -> None:
    """Write into a new or empty ``folder`` what is made there of what; in one that is not, require the same.

    Raises ConfigError with what differs, or where the folder does not tell, and StorageError.
    """
    path = folder / FILE
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        with replacing(path) as part:
            part.write_text(json.dumps(dict(made_of), indent=1) + "\n", encoding="utf-8")
        return
    hint = "remove that folder to make it anew, or name another"
    if not path.exists():
        raise ConfigError(f"{folder} does not tell what it was made of", hint=hint)
    told = json.loads(path.read_text(encoding="utf-8"))
    changed = [name for name, value in made_of.items() if told.get(name) != value]
    if changed:
        raise ConfigError(f"{folder} was made of other {' and '.join(changed)}", hint=hint)


def named(paths: Iterable[Path]) -> str:
    """A number that other names or sizes of files would change."""
    listed = "".join(f"{path.name} {path.stat().st_size}\n" for path in paths)
    return hashlib.sha256(listed.encode()).hexdigest()[:16]
