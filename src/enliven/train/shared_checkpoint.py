"""Checkpoints that all processes write together, beside the training, and that any number of them reads.

The files are safetensors, one for each process, in which the headers say which part of a tensor is whose. A checkpoint
is written under another name and moved into place when it is whole.
"""

import json
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, distributed
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load as load_shared
from torch.distributed.checkpoint.state_dict_saver import async_save

from enliven.errors import WeightsError
from enliven.media.storage import storage_error
from enliven.train import checkpoint
from enliven.train.processes import meet, rank_and_count

SHOWN = 3

warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # one process is no mistake

MakeRoom = Callable[[Mapping[str, torch.Size]], Mapping[str, Tensor]]


class Saver:
    """Writes checkpoints into one folder, one at a time; the weights may move on while it writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rank, self._count = rank_and_count()
        # Its own connections: what is written is agreed upon while the training talks on the others.
        self._group = distributed.new_group(backend="gloo") if self._count > 1 else None
        self._thread = ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None

    def begin(self, tensors: Mapping[str, Tensor], counters: Mapping[str, Any]) -> None:
        """Copy the tensors and write them beside. Raises StorageError where the last one could not be written."""
        self.wait()
        try:
            fresh = checkpoint.begin_new(self.folder) if self._rank == 0 else checkpoint.fresh(self.folder)
            meet()
            writer = HuggingFaceStorageWriter(str(fresh), save_distributed=True)
            state = {name: value.detach() for name, value in tensors.items()}
            written: Any = async_save(state, storage_writer=writer, process_group=self._group, no_dist=self._count == 1)
        except OSError as error:
            raise storage_error(self.folder, error) from error
        self._pending = self._thread.submit(self._finish, written, fresh, dict(counters))

    def wait(self) -> None:
        """Until what was begun is in place. Raises StorageError when it is not, and the last checkpoint stays."""
        pending, self._pending = self._pending, None
        if pending:
            pending.result()

    def _finish(self, written: "Future[Any]", fresh: Path, counters: Mapping[str, Any]) -> None:
        try:
            written.result()
            if self._rank == 0:
                (fresh / checkpoint.COUNTERS).write_text(json.dumps(counters))
                checkpoint.put_in_place(self.folder)
        except (Exception, CheckpointException) as error:  # the latter is no Exception
            refused = _refusal(error)
            if refused is None:
                raise
            raise storage_error(self.folder, refused) from error


def load(folder: Path, make_room: MakeRoom) -> dict[str, Any]:
    """Read a checkpoint into tensors that are there already, each process its part; returns the counters.

    ``make_room`` is told the shapes by name and gives the tensors to fill. Raises WeightsError when there is no
    checkpoint, or one of other networks.
    """
    place = checkpoint.find(folder)
    if place is None:
        raise WeightsError(f"no checkpoint in {folder}", hint="give the folder of a run that has saved one")
    reader = HuggingFaceStorageReader(str(place))
    try:
        stored = reader.read_metadata().state_dict_metadata
    except SafetensorError as error:
        raise WeightsError(
            f"the checkpoint {place} is damaged: {error}", hint="delete that folder and begin anew"
        ) from None
    shapes = {name: each.size for name, each in stored.items() if isinstance(each, TensorStorageMetadata)}
    room = dict(make_room(shapes))
    check_names(place, shapes, {name: value.shape for name, value in room.items()})
    with torch.no_grad():
        load_shared(room, storage_reader=reader, no_dist=rank_and_count()[1] == 1)
    counters: dict[str, Any] = json.loads((place / checkpoint.COUNTERS).read_text())
    return counters


def check_names(place: Path, stored: Mapping[str, torch.Size], wanted: Mapping[str, torch.Size]) -> None:
    """Raise WeightsError unless a checkpoint holds what is wanted."""
    differ = sorted(name for name in stored.keys() | wanted.keys() if stored.get(name) != wanted.get(name))
    if differ:
        shown = ", ".join(differ[:SHOWN]) + (" ..." if len(differ) > SHOWN else "")
        raise WeightsError(
            f"the checkpoint {place} is of other networks: {len(differ)} tensors differ ({shown})",
            hint="train into another folder, or with the recipe that began this one",
        )


def _refusal(error: BaseException) -> OSError | None:
    """What the system said, however deep it is wrapped."""
    if isinstance(error, OSError):
        return error
    inner = getattr(error, "failures", None)
    wrapped = [each[0] for each in inner.values()] if isinstance(inner, dict) else []
    wrapped += [each for each in (error.__cause__, error.__context__) if each is not None]
    return next((found for each in wrapped if (found := _refusal(each))), None)
