"""Blocks that are on the device only while they run: a network may be larger than the memory it runs in.

    offload_blocks(backbone, "cuda")                                    # weights wait in pinned memory of the CPU
    offload_blocks(backbone, "cpu", store=FiledBlocks.placed(places))   # weights wait in their files
    offload_blocks(text, "cuda", blocks=..., store=..., rest=...)       # nothing of it stays on the device

Hooks do all of it, from outside. The numbers a network computes stay the same, to the bit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from enliven.errors import ConfigError, WeightsError


@runtime_checkable
class BlockStore(Protocol):
    """Where the weights of blocks wait."""

    def waiting(self, index: int) -> dict[str, Tensor]:
        """The tensors of one block on the CPU, by their names in it. What is not named stays on the device."""
        ...


class HeldBlocks:
    """Weights wait in memory, ``pinned`` where a GPU is to fetch them. The blocks share them from then on."""

    def __init__(self, blocks: nn.ModuleList, *, pinned: bool) -> None:
        self._tensors: list[dict[str, Tensor]] = []
        for block in blocks:  # one after the other, so that only one is in memory twice
            held = {name: _held(value, pinned=pinned) for name, value in block.state_dict().items()}
            _Slots(block, held).fill(held)
            self._tensors.append(held)

    def waiting(self, index: int) -> dict[str, Tensor]:
        """See ``BlockStore``."""
        return self._tensors[index]


@dataclass(frozen=True, slots=True)
class FiledBlocks:
    """Weights wait in safetensors files, mapped anew each time: memory is taken for what is read, until let go.

    ``places`` says for each block the file of each tensor and its name there.
    """

    places: tuple[Mapping[str, tuple[Path, str]], ...]

    @classmethod
    def placed(cls, places: Mapping[str, tuple[Path, str]], prefix: str = "blocks.") -> "FiledBlocks":
        """The blocks among the tensors of a network: file and name there of each, by its name in the network.

        Raises WeightsError.
        """
        blocks: dict[int, dict[str, tuple[Path, str]]] = {}
        for key, place in places.items():
            number, _, name = key.removeprefix(prefix).partition(".")
            if key.startswith(prefix) and number.isdecimal():
                blocks.setdefault(int(number), {})[name] = place
        if sorted(blocks) != list(range(len(blocks))) or not blocks:
            raise WeightsError(
                f"the files hold the blocks {sorted(blocks)} under {prefix!r}; expected all, counted from 0",
                hint="give all files of one network",
            )
        return cls(tuple(blocks[index] for index in range(len(blocks))))

    @classmethod
    def beside(cls, places: Mapping[str, tuple[Path, str]], prefix: str) -> "FiledBlocks":
        """All other tensors, as one block: that of ``rest``, see ``offload_blocks``."""
        return cls(({key: place for key, place in places.items() if not key.startswith(prefix)},))

    def waiting(self, index: int) -> dict[str, Tensor]:
        """See ``BlockStore``. Raises WeightsError."""
        found: dict[tuple[Path, str], Tensor] = {}  # each once, also where it has two names
        for path in dict.fromkeys(path for path, _ in self.places[index].values()):
            try:
                with safe_open(path, "pt") as file:
                    for place in dict.fromkeys(self.places[index].values()):
                        if place[0] == path:
                            found[place] = file.get_tensor(place[1])
            except (OSError, SafetensorError) as error:
                raise WeightsError(
                    f"cannot read {path}: {error}", hint="it is missing or damaged: fetch it again"
                ) from error
        return {name: found[place] for name, place in self.places[index].items()}


class Offload:
    """The hooks on the blocks of one network; ``remove`` takes them off, and leaves the weights where they wait.

    ``waiting`` are the tensors that come and go, by module and name.
    """

    def __init__(self, blocks: nn.ModuleList, device: torch.device, store: BlockStore) -> None:
        self._store = store
        self._slots = [_Slots(block, store.waiting(index)) for index, block in enumerate(blocks)]
        self._carrier: _Carrier | _SideStream
        self._carrier = (_SideStream if device.type == "cuda" else _Carrier)(store, self._slots, device)
        self.waiting = {place for slots in self._slots for place in slots.places}
        self._handles = []
        for index, block in enumerate(blocks):
            self._rest(index)
            self._handles += [
                block.register_forward_pre_hook(lambda *_, index=index: self._bring(index)),
                block.register_forward_hook(lambda *_, index=index: self._leave(index), always_call=True),
            ]

    def also(self, other: "Offload") -> None:
        """Take over the hooks of another."""
        self._handles += other._handles
        self.waiting |= other.waiting

    def remove(self) -> None:
        """Take the hooks off; the network runs again once it has been moved to one device."""
        for handle in self._handles:
            handle.remove()

    def _bring(self, index: int) -> None:
        self._slots[index].fill(self._carrier.bring(index))

    def _leave(self, index: int) -> None:
        self._rest(index)
        self._carrier.leave(index)

    def _rest(self, index: int) -> None:
        self._slots[index].fill(self._store.waiting(index))


def offload_blocks(
    network: nn.Module,
    device: torch.device | str,
    *,
    blocks: nn.ModuleList | None = None,
    store: BlockStore | None = None,
    rest: BlockStore | None = None,
) -> Offload:
    """Let ``network`` run on ``device`` with one block there at a time, two on a GPU; all else moves there for good.

    ``blocks`` are ``network.blocks`` unless others are named. They must run one after the other. Without a ``store``,
    their weights wait in memory. What stands in the only block of ``rest`` comes when the network is called, and goes
    again. Do not move the network afterwards. Raises ConfigError for weights that are to be trained, and WeightsError
    where a store holds those of another network.
    """
    device = torch.device(device)
    blocks = _own_blocks(network) if blocks is None else blocks
    trained = next((name for name, value in blocks.named_parameters() if value.requires_grad), None)
    if trained is not None:
        raise ConfigError(
            f"blocks.{trained} is to be trained, so it cannot leave the device", hint="call requires_grad_(False) first"
        )
    if store is None:
        store = HeldBlocks(blocks, pinned=device.type == "cuda")
    offload = Offload(blocks, device, store)
    if rest is not None:
        offload.also(Offload(nn.ModuleList([network]), device, rest))
    _settle(network, offload.waiting, device)
    return offload


def _settle(network: nn.Module, waiting: set[tuple[nn.Module, str]], device: torch.device) -> None:
    """Move what waits nowhere to the device."""
    for module in network.modules():
        for name, value in (*module._parameters.items(), *module._buffers.items()):
            if value is not None and (module, name) not in waiting:
                value.data = value.data.to(device)


class _Slots:
    """Where the tensors of one block belong, and of what type they are there."""

    def __init__(self, block: nn.Module, waiting: Mapping[str, Tensor]) -> None:
        state = block.state_dict()
        strange = {name for name, value in waiting.items() if name not in state or state[name].shape != value.shape}
        if strange or not waiting:
            raise WeightsError(
                f"the weights of a block do not fit it: {', '.join(sorted(strange)[:4]) or 'there are none'}",
                hint="give the files that this network was read from",
            )
        self.types = {name: state[name].dtype for name in waiting}
        self._owners = {name: block.get_submodule(name.rpartition(".")[0]) for name in waiting}

    @property
    def places(self) -> list[tuple[nn.Module, str]]:
        return [(owner, name.rpartition(".")[2]) for name, owner in self._owners.items()]

    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        for name, value in tensors.items():
            owner, leaf = self._owners[name], name.rpartition(".")[2]
            if leaf in owner._parameters:
                owner._parameters[leaf] = nn.Parameter(value, requires_grad=False)
            else:
                owner._buffers[leaf] = value


class _Carrier:
    """Brings blocks when they are asked for. Where they wait on the device itself, nothing is copied."""

    def __init__(self, store: BlockStore, slots: list[_Slots], device: torch.device) -> None:
        self.store, self.slots, self.device = store, slots, device

    def bring(self, index: int) -> dict[str, Tensor]:
        types, waiting, moved = self.slots[index].types, self.store.waiting(index), dict[int, Tensor]()
        for name, value in waiting.items():
            if id(value) not in moved:  # one tensor may have two names
                moved[id(value)] = value.to(self.device, types[name], non_blocking=True)
        return {name: moved[id(value)] for name, value in waiting.items()}

    def leave(self, index: int) -> None:
        """Nothing to do."""


class _SideStream(_Carrier):
    """Brings the next block while one computes, in a stream of its own.

    A block is let go only when the GPU is done with it, and the next but one waits for that: however far Python is
    ahead of the GPU, no more than two blocks are there.
    """

    def __init__(self, store: BlockStore, slots: list[_Slots], device: torch.device) -> None:
        super().__init__(store, slots, device)
        self._stream = torch.cuda.Stream(device)
        self._coming: dict[int, tuple[dict[str, Tensor], torch.cuda.Event]] = {}
        self._here: dict[str, Tensor] = {}
        self._left: tuple[dict[str, Tensor], torch.cuda.Event] | None = None

    def bring(self, index: int) -> dict[str, Tensor]:
        if index not in self._coming:
            self._coming.clear()
            self._start(index)
        self._here, copied = self._coming.pop(index)
        torch.cuda.current_stream(self.device).wait_event(copied)
        return self._here

    def leave(self, index: int) -> None:
        computed = torch.cuda.current_stream(self.device).record_event()
        self._let_go()
        self._left, self._here = (self._here, computed), {}
        if index + 1 < len(self.slots):
            self._start(index + 1)
        else:
            self._let_go()  # nothing stays behind

    def _start(self, index: int) -> None:
        with torch.cuda.stream(self._stream):
            self._coming[index] = (super().bring(index), self._stream.record_event())

    def _let_go(self) -> None:
        if self._left is not None:
            self._left[1].synchronize()
            self._left = None


def _own_blocks(network: nn.Module) -> nn.ModuleList:
    blocks = getattr(network, "blocks", None)
    if not isinstance(blocks, nn.ModuleList):
        raise ConfigError(f"{type(network).__name__} has no blocks", hint="name the list of its repeated units")
    return blocks


def _held(value: Tensor, *, pinned: bool) -> Tensor:
    value = value.detach().cpu()
    return value.pin_memory() if pinned else value
