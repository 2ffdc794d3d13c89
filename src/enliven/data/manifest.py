"""What lies in a folder of shards: a Parquet file beside each shard, with a row for each clip in it."""

import importlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from enliven.errors import MediaError, MissingExtra
from enliven.media.storage import replacing

KIND = ("people", "latents", "height", "width", "features")  # clips of one batch agree in these
KINDS_OF_NUMBER = {int: "int64", str: "string", bool: "bool_"}


@dataclass(frozen=True, slots=True)
class Row:
    """A clip in a shard: ``size`` bytes from ``offset`` on, whose CRC-32 is ``checksum``.

    It is cut out of ``source``, from video frame ``start`` on. Latent frames, their height and width, and the speech
    features of a voice are counted; clips that agree in them, and in how many people speak, fit into one batch.
    """

    key: str
    shard: str
    offset: int
    size: int
    checksum: int
    source: str
    start: int
    caption: str
    silent: bool
    people: int
    latents: int
    height: int
    width: int
    features: int


class Manifest:
    """The rows of a folder, in the order of its shards; columns are read whole, rows one by one."""

    def __init__(self, table: Any) -> None:
        self.table = table
        self._groups: dict[tuple[str, ...], NDArray[np.int64]] = {}

    def __len__(self) -> int:
        return self.table.num_rows

    def row(self, index: int) -> Row:
        """One clip."""
        values = {name: column[0] for name, column in self.table.slice(index, 1).to_pydict().items()}
        return Row(**values)

    def column(self, name: str) -> NDArray[Any]:
        """What all rows say of one thing."""
        return self.table.column(name).to_numpy()

    def shards(self) -> list[str]:
        """The names of all shards, in their order."""
        return np.unique(self.column("shard")).tolist()

    def rows(self, shards: Collection[str]) -> NDArray[np.int64]:
        """The numbers of the rows in those shards."""
        wanted = set(shards)  # np.isin would compare every row with every name
        return np.flatnonzero([name in wanted for name in self.column("shard")])

    def take(self, rows: NDArray[np.int64]) -> "Manifest":
        """Those rows alone."""
        return Manifest(self.table.take(rows))

    def within(self, shards: Collection[str]) -> "Manifest":
        """The rows in those shards alone."""
        return self.take(self.rows(shards))

    def groups(self, *names: str) -> NDArray[np.int64]:
        """For each row a number that is the same where all of the columns are."""
        if names not in self._groups:  # seconds for a large folder
            columns = [np.unique(self.column(name), return_inverse=True)[1] for name in names]
            found = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)[1].reshape(-1)
            self._groups[names] = found
        return self._groups[names]

    def starts(self) -> Mapping[str, frozenset[int]]:
        """From which frames on clips were cut out of each source."""
        found: dict[str, set[int]] = {}
        for source, start in zip(self.table.column("source").to_pylist(), self.column("start").tolist(), strict=True):
            found.setdefault(source, set()).add(start)
        return {source: frozenset(starts) for source, starts in found.items()}


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write a Parquet file, which appears when it is whole. Raises MissingExtra, StorageError."""
    arrow, parquet = _arrow()
    table = arrow.Table.from_pylist([asdict(row) for row in rows], schema=_schema())
    with replacing(path) as part:
        parquet.write_table(table, part)


def read_manifest(folder: Path) -> Manifest:
    """All rows of a folder; a shard without its rows was never finished and does not count.

    Raises MissingExtra, and MediaError for a Parquet file that is damaged or of something else.
    """
    arrow, parquet = _arrow()
    tables = []
    for path in sorted(folder.glob("*.parquet")):
        try:
            table = parquet.read_table(path, schema=_schema())
        except (arrow.ArrowException, OSError) as error:
            raise _no_manifest(path, str(error).splitlines()[0]) from error
        lacking = [name for name, column in zip(table.column_names, table.columns, strict=True) if column.null_count]
        if lacking:  # so is a column that is not there
            raise _no_manifest(path, f"it does not say {', '.join(lacking)} of every clip")
        tables.append(table)
    return Manifest(arrow.concat_tables(tables) if tables else _schema().empty_table())


def _no_manifest(path: Path, reason: str) -> MediaError:
    return MediaError(f"{path} is no manifest: {reason}", hint="remove it and its shard, and encode again")


def _schema() -> Any:
    arrow, _ = _arrow()
    return arrow.schema([(field.name, getattr(arrow, KINDS_OF_NUMBER[field.type])()) for field in fields(Row)])  # type: ignore[index]


def _arrow() -> tuple[Any, Any]:
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise MissingExtra("pyarrow is not installed", hint="pip install 'enliven[train]'") from None
