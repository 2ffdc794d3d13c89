"""Lists of videos to make: TOML, JSON lines, CSV, or a folder of run files and of LongCat's input files.

    list.toml    [[item]] tables; what stands above them holds for all items
    list.jsonl   an object on each line
    list.csv     a column for each value; an empty cell says nothing, and ";" stands between several voices
    folder       a .toml run file, or a .json input file of LongCat or InfiniteTalk, for each video

An item says what a run file may say, and its ``name``. Paths start at the folder of the list.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enliven import config
from enliven.commands.request import placed
from enliven.errors import ConfigError

MOST_ITEMS = 100_000
NAME, ITEM = "name", "item"
SEVERAL = frozenset({"audio", "speakers", "loras"})  # cells that hold a list
NUMBERS = frozenset(
    {"seconds", "width", "height", "steps", "seed", "reference_index", "skip_radius", "repair_percentile"}
    | {"expressiveness", "guidance.text", "guidance.audio"}
)
KINDS = "a .toml, .jsonl or .csv file, or a folder of .toml and .json files"


@dataclass(frozen=True, slots=True)
class Item:
    """One video of a list: what it is called, and what the file it stands in says of it.

    Without ``values``, the whole file is about this one.
    """

    name: str
    file: Path
    values: Mapping[str, Any] | None = None

    def written(self) -> dict[str, Any]:
        """The values of a run file, their paths in place. Raises ConfigError."""
        return placed(config.read(self.file) if self.values is None else self.values, self.file.parent)


def read_list(path: Path) -> tuple[Item, ...]:
    """The items of a list, in its order; those without a name are numbered.

    Raises ConfigError for a list that cannot be read or is empty, and for names that are no file names or stand twice.
    """
    readers = {".toml": _toml, ".jsonl": _json_lines, ".csv": _csv}
    if path.is_dir():
        items = tuple(_folder(path))
    elif path.suffix.lower() in readers:
        items = tuple(_named(path, list(readers[path.suffix.lower()](path))))
    else:
        raise ConfigError(f"{path} is no list of videos", hint=f"give {KINDS}")
    if not 0 < len(items) <= MOST_ITEMS:
        raise ConfigError(f"{path} holds {len(items)} videos; 1 to {MOST_ITEMS} were expected", hint=f"give {KINDS}")
    for name, count in Counter(item.name for item in items).items():
        if count > 1:
            raise ConfigError(f"{count} items are called {name!r}", hint="give each a name of its own")
    return items


def _named(path: Path, found: list[dict[str, Any]]) -> Iterator[Item]:
    for number, values in enumerate(found, start=1):
        name = values.pop(NAME, f"{number:0{len(str(len(found)))}}")
        if not isinstance(name, str) or name.startswith(".") or set(name) & set("/\\\0") or not name.strip():
            raise ConfigError(f"item {number} is called {name!r}, which is no name of a file", hint="use letters")
        yield Item(name, path, values)


def _toml(path: Path) -> Iterator[dict[str, Any]]:
    values = config.read(path)
    items = values.pop(ITEM, [])
    if not (isinstance(items, list) and all(isinstance(item, dict) for item in items)):
        raise ConfigError(f"{path} has an {ITEM!r} that is no table", hint="write [[item]] above each video")
    yield from (values | item for item in items)


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path}, line {number} is no JSON: {error}", hint="write one object a line") from None
        if not isinstance(values, dict):
            raise ConfigError(
                f"{path}, line {number} is no object", hint='write {"audio": ["a.wav"], ...} on each line'
            )
        yield values


def _csv(path: Path) -> Iterator[dict[str, Any]]:
    reader = csv.DictReader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        for row in reader:
            if None in row:
                raise ConfigError(
                    f"{path}, line {reader.line_num} has more cells than there are columns",
                    hint="put what holds a comma in double quotes",
                )
            yield _row(row)
    except csv.Error as error:
        raise ConfigError(f"{path}, line {reader.line_num}: {error}", hint="save it as CSV again") from None


def _row(row: Mapping[str, str | None]) -> dict[str, Any]:
    """The values of a row: numbers where numbers belong, lists of what is parted by ";", and texts."""
    cells = {column.strip(): (cell or "").strip() for column, cell in row.items()}
    cells = {column: cell for column, cell in cells.items() if cell}
    values: dict[str, Any] = {}
    for column, cell in cells.items():
        if column in SEVERAL:
            values[column] = [part.strip() for part in cell.split(";")]
        elif column not in NUMBERS:
            values[column] = cell
    return config.override(values, [f"{column}={cell}" for column, cell in cells.items() if column in NUMBERS])


def _folder(path: Path) -> Iterator[Item]:
    for file in sorted(path.iterdir()):
        if file.suffix.lower() == ".toml":
            yield Item(file.stem, file)
        elif file.suffix.lower() == ".json":
            yield Item(file.stem, file, {"input": file.name})


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}", hint=f"give {KINDS}, in UTF-8") from None
