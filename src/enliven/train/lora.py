"""A LoRA that is learnt beside a frozen network, which several may share: they take turns to be switched on.

What is saved is in the format of LongCat, to be attached or merged by ``enliven.models.lora``.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from enliven.errors import ConfigError
from enliven.media.storage import replacing
from enliven.models.lora import DOT, Adapter, Change


class LearntAdapter(Adapter):
    """A change of nothing, at first, that can be learnt; switched off until it is needed."""

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        down = nn.init.kaiming_uniform_(torch.empty(rank, layer.in_features), a=5**0.5)
        super().__init__(Change(down[None], torch.zeros(1, layer.out_features, rank), 1.0), strength=0.0)
        for name in ("down", "up"):
            value = getattr(self, name)
            delattr(self, name)
            self.register_parameter(name, nn.Parameter(value))


class WithLora(nn.Module):
    """A network with a LoRA of ``rank`` beside all linear layers whose names match ``layers``.

    Its parameters are those of the LoRA alone; the network stays where it is, frozen, and is not a part of this. It
    must be on its device before. Raises ConfigError where no layer matches.
    """

    def __init__(self, network: nn.Module, rank: int, layers: str = r"blocks\.") -> None:
        super().__init__()
        found = {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Linear)}
        self.names = [name for name in found if re.search(layers, name)]
        if not self.names or rank < 1:
            raise ConfigError(f"a LoRA of rank {rank} beside {len(self.names)} layers", hint="it needs one of each")
        network.requires_grad_(requires_grad=False)
        self.adapters = nn.ModuleList(LearntAdapter(found[name], rank) for name in self.names)
        for name, adapter in zip(self.names, self.adapters, strict=True):
            assert isinstance(adapter, LearntAdapter)
            found[name].register_forward_hook(adapter.add)
        self._network = (network,)  # in a tuple, so that it is not registered

    def forward(self, *given: object) -> Tensor:
        """What the network says with the LoRA at work."""
        with self.at_work() as network:
            return network(*given)

    @contextmanager
    def at_work(self) -> Iterator[nn.Module]:
        """The network with the LoRA switched on; afterwards it is as it was."""
        adapters = [adapter for adapter in self.adapters if isinstance(adapter, Adapter)]
        with _strengths(adapters, [1.0] * len(adapters)):
            yield self._network[0]


def as_now(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """For the first pass through a block, and for the pass in which it is computed again on the way back.

    By then other LoRAs may be at work, or none: those beside its layers are made as strong again as they are now.
    """
    hooks = [hook for layer in block.modules() for hook in layer._forward_hooks.values()]
    adapters = [owner for hook in hooks if isinstance(owner := getattr(hook, "__self__", None), Adapter)]
    return nullcontext(), _strengths(adapters, [adapter.strength for adapter in adapters])


@contextmanager
def _strengths(adapters: Sequence[Adapter], strengths: Sequence[float]) -> Iterator[None]:
    """Adapters of these strengths for a while."""
    before = [adapter.strength for adapter in adapters]
    _set_strengths(adapters, strengths)
    try:
        yield
    finally:
        _set_strengths(adapters, before)


def _set_strengths(adapters: Sequence[Adapter], strengths: Sequence[float]) -> None:
    for adapter, strength in zip(adapters, strengths, strict=True):
        adapter.strength = strength


def running(learns: nn.Module) -> AbstractContextManager[nn.Module]:
    """The network that can be run while another one learns: that with its LoRA at work, or the same."""
    return learns.at_work() if isinstance(learns, WithLora) else nullcontext(learns)


def save_lora(learnt: WithLora, path: Path, dtype: torch.dtype = torch.float16) -> None:
    """Write a learnt LoRA, to be used at strength 1. Raises StorageError."""
    tensors: dict[str, Tensor] = {}
    for name, adapter in zip(learnt.names, learnt.adapters, strict=True):
        assert isinstance(adapter, LearntAdapter)
        key = f"lora{DOT}{name.replace('.', DOT)}"
        tensors[f"{key}.lora_down.weight"] = adapter.down.detach()[0].to("cpu", dtype).contiguous()
        tensors[f"{key}.lora_up.weight"] = adapter.up.detach()[0].to("cpu", dtype).contiguous()
        tensors[f"{key}.alpha_scale"] = torch.tensor(adapter.scale)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        save_file(tensors, part)
