"""All that a run has learnt, as named tensors: weights, their averages, and what optimisers remember."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from enliven.train import checkpoint, shared_checkpoint
from enliven.train.optimizers import Optimizers, counted_names, recall, remembered
from enliven.train.sharding import put

Shapes = Mapping[str, torch.Size]


class State:
    """The state of ``network``, a dictionary of networks, in training; averages begin as its weights, in float32."""

    def __init__(self, network: nn.Module, optimizers: Optimizers) -> None:
        self.network, self.optimizers = network, optimizers
        self.average = {
            name: value.detach().clone().float() if value.is_floating_point() else value.detach().clone()
            for name, value in network.state_dict().items()
        }

    @torch.no_grad()
    def follow(self, turn: Collection[str], keep: float) -> None:
        """Draw the averages of the networks in ``turn`` towards their weights; ``keep`` of them stays."""
        for name, value in self.network.state_dict().items():
            if name.split(".", 1)[0] not in turn:
                continue
            if value.is_floating_point():
                self.average[name].lerp_(value.float(), 1 - keep)
            else:
                self.average[name].copy_(value)

    def averages_of(self, name: str) -> dict[str, Tensor]:
        """Those of one network; of several processes, their parts."""
        prefix = f"{name}."
        return {key.removeprefix(prefix): value for key, value in self.average.items() if key.startswith(prefix)}

    @contextmanager
    def averages_in_use(self) -> Iterator[None]:
        """The networks have their averaged weights for a while."""
        weights = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.network.load_state_dict(self.average)
        try:
            yield
        finally:
            self.network.load_state_dict(weights)

    def tensors(self) -> dict[str, Tensor]:
        """Everything, as ``network/...``, ``average/...`` and ``optimizer/...``; of several processes, their parts."""
        return (
            _under("network", self.network.state_dict())
            | _under("average", self.average)
            | _under("optimizer", remembered(self.network, self.optimizers))
        )

    def restore(self, folder: Path) -> dict[str, Any]:
        """Take everything from a checkpoint; returns its counters. Raises WeightsError, see ``shared_checkpoint``."""
        place = checkpoint.find(folder)
        if place and (place / "network.safetensors").exists():
            return self._restore_whole(folder)
        return shared_checkpoint.load(folder, self._make_room)

    def _make_room(self, shapes: Shapes) -> dict[str, Tensor]:
        known = {name.removeprefix("optimizer/"): s for name, s in shapes.items() if name.startswith("optimizer/")}
        recall(known, self.network, self.optimizers)
        return self.tensors()

    def _restore_whole(self, folder: Path) -> dict[str, Any]:
        """From a checkpoint as they were written when one process was all there could be."""
        files, counters = checkpoint.load(folder)
        name = counted_names(self.network, self.optimizers)
        for number in range(2):
            counted = files.pop(f"optimizer{number}", {})
            files.setdefault("optimizer", {}).update({name(number, key): value for key, value in counted.items()})
        stored = {key: value for kind, values in files.items() for key, value in _under(kind, values).items()}
        room = self._make_room(_shapes(stored))
        shared_checkpoint.check_names(folder, _shapes(stored), _shapes(room))
        for key, value in room.items():
            put(value, stored[key])
        return dict(counters)


def _shapes(tensors: Mapping[str, Tensor]) -> Shapes:
    return {name: value.shape for name, value in tensors.items()}


def _under(kind: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{kind}/{name}": value for name, value in tensors.items()}
