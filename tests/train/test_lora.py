"""A LoRA that is learnt: it begins as nothing, shares its network, and is what is read from its file."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from enliven.errors import ConfigError
from enliven.models.lora import attach_lora, merge_lora, read_lora
from enliven.train.lora import WithLora, save_lora
from enliven.train.sharding import recompute_blocks


class Blocks(nn.Module):
    """Two layers in blocks, and one that is in none."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(nn.Linear(6, 12), nn.Linear(12, 5, bias=False))
        self.out = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.blocks(x))


class Rows(nn.Module):
    """Blocks that can be computed again."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(6, 9), nn.GELU(), nn.Linear(9, 6)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return x


def learnt(network: nn.Module, rank: int = 2) -> WithLora:
    """A LoRA that changes something."""
    made = WithLora(network, rank)
    for adapter in made.adapters:
        nn.init.normal_(adapter.up)
    return made


def test_it_begins_as_the_network() -> None:
    torch.manual_seed(0)
    network, x = Blocks(), torch.randn(4, 6)
    assert torch.equal(WithLora(network, 2)(x), network(x))


def test_what_is_learnt_is_the_lora_alone() -> None:
    network = Blocks()
    lora = learnt(network)
    assert {name for name, _ in lora.named_parameters()} == set(lora.state_dict())
    assert sum(value.numel() for value in lora.parameters()) == 2 * (6 + 12) + 2 * (12 + 5)
    lora(torch.randn(4, 6)).square().sum().backward()
    assert all(value.grad is not None and value.grad.any() for value in lora.parameters())
    assert all(value.grad is None for value in network.parameters())


def test_several_share_a_network_and_leave_it_as_it_was() -> None:
    torch.manual_seed(0)
    network, x = Blocks(), torch.randn(4, 6)
    alone, first, second = network(x), learnt(network), learnt(network)
    said = first(x), second(x)
    assert not torch.allclose(*said)
    assert torch.equal(network(x), alone)
    assert torch.equal(first(x), said[0])
    with pytest.raises(RuntimeError):
        first(torch.randn(4, 7))
    assert torch.equal(network(x), alone), "also after a failure"


def test_a_saved_one_can_be_attached_and_merged(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, x = Blocks(), torch.randn(4, 6)
    lora = learnt(network)
    wanted = lora(x)
    save_lora(lora, tmp_path / "lora" / "one.safetensors", torch.float32)
    attached = attach_lora(network, read_lora(tmp_path / "lora" / "one.safetensors"))
    torch.testing.assert_close(network(x), wanted)
    attached.detach()
    merge_lora(network, read_lora(tmp_path / "lora" / "one.safetensors"))
    torch.testing.assert_close(network(x), wanted)


def test_blocks_that_are_computed_again_hear_the_lora_that_was_at_work() -> None:
    """On the way back of the first LoRA the second is at work; the network itself says something between."""
    gradients = []
    for recompute in (False, True):
        torch.manual_seed(0)
        network, x = Rows(), torch.randn(4, 6)
        first, second = learnt(network), learnt(network, rank=3)
        if recompute:
            recompute_blocks([network])
        said = first(x).square().sum() + 2 * second(x).square().sum() + network(x).sum()
        with second.at_work():
            said.backward()
            assert {adapter.strength for adapter in second.adapters} == {1}
        assert {adapter.strength for lora in (first, second) for adapter in lora.adapters} == {0}
        gradients.append([value.grad for lora in (first, second) for value in lora.parameters()])
    assert all(value.any() for value in gradients[0])
    assert all(map(torch.equal, *gradients))


@pytest.mark.parametrize(("rank", "layers"), [(0, "blocks"), (2, "heads")])
def test_a_lora_beside_nothing_is_refused(rank: int, layers: str) -> None:
    with pytest.raises(ConfigError, match="a LoRA of rank"):
        WithLora(Blocks(), rank, layers)
