"""Weights that several processes share: the velocity is that of one, and each holds a part."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.testing import assert_close

from enliven.errors import ConfigError
from enliven.models.int8 import to_int8
from enliven.models.lora import Change, Lora, attach_lora
from enliven.runtime.context_parallel import share_tokens
from enliven.runtime.memory import NetworkNeeds
from enliven.runtime.mesh import Parallel, join
from enliven.runtime.sharding import own_part, share_weights
from passes import LONGCAT, PASSES, Pass, backbone, velocities
from several_processes import run_together

MADE = {name: PASSES[name] for name in ("longcat-uneven", "soul-continuation")}
LAYER = {"longcat-uneven": "blocks.1.attn.proj", "soul-continuation": "blocks.1.attn1.to_out.0"}


def network_of(name: str, made: Pass) -> nn.Module:
    """A backbone with a LoRA beside it."""
    network = backbone(made.params)
    random = torch.Generator().manual_seed(3)
    change = Change(torch.randn(1, 2, 32, generator=random), torch.randn(1, 32, 2, generator=random), 0.5)
    attach_lora(network, Lora(Path("none"), {LAYER[name]: change}), 0.7)
    return network


def held(network: nn.Module) -> int:
    """Bytes of weights in this process."""
    return sum(getattr(value, "_local_tensor", value).nbytes for value in network.parameters())


def in_each_process(folder: Path) -> None:
    mesh = join(Parallel(context=2, sharded=True), "cpu")
    found = {}
    for name, made in MADE.items():
        network = network_of(name, made)
        whole = held(network)
        share_weights(network, mesh.everyone)
        found[f"{name} share"] = torch.tensor(held(network) / whole)
        found[name] = velocities(network, made)
        share_tokens(network, mesh.context)
        found[f"{name} and tokens"] = velocities(network, made, cached=made.cacheable)
        found[f"{name} share afterwards"] = torch.tensor(held(network) / whole)
    save_file(found, folder / f"{mesh.grid.get_rank()}.safetensors")
    with pytest.raises(ConfigError, match="weights of 8 bits cannot be shared among 2 processes"):
        share_weights(to_int8(backbone(LONGCAT)), mesh.everyone)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    folder = tmp_path_factory.mktemp("found")
    run_together(2, in_each_process, folder)
    return [load_file(folder / f"{rank}.safetensors") for rank in range(2)]


@pytest.mark.parametrize("name", MADE)
def test_shared_weights_make_the_same_velocity(name: str, found: list[dict[str, Tensor]]) -> None:
    expected = velocities(network_of(name, MADE[name]), MADE[name])
    for each in found:
        assert_close(each[name], expected, atol=1e-5, rtol=0)
        assert_close(each[f"{name} and tokens"], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", MADE)
def test_each_process_holds_its_part_before_and_between_passes(name: str, found: list[dict[str, Tensor]]) -> None:
    for each in found:
        assert 0.45 < each[f"{name} share"] < 0.55
        assert each[f"{name} share afterwards"] == each[f"{name} share"]


def test_a_process_holds_its_share_and_the_blocks_that_run() -> None:
    assert own_part(NetworkNeeds(100, (20, 30, 20), working=5), 4) == NetworkNeeds(25 + 2 * 30, working=5)
