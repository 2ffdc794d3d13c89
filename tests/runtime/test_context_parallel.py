"""Tokens that several processes share: the velocity is that of one."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from enliven.errors import ConfigError
from enliven.runtime.context_parallel import share_tokens
from enliven.runtime.mesh import Parallel, grid, join
from passes import LONGCAT, PASSES, WAN, backbone, velocities
from several_processes import run_together

COUNTS = (2, 4)


def in_each_process(folder: Path) -> None:
    everyone = join(Parallel(context=4), "cpu")
    pairs = grid(Parallel(context=2, guidance=2), torch.device("cpu")).get_group("context")
    found = {}
    for count, group in zip(COUNTS, (pairs, everyone.context), strict=True):
        networks = {params: backbone(params) for params in (LONGCAT, WAN)}
        for network in networks.values():
            share_tokens(network, group)
        for name, made in PASSES.items():
            found[f"{count} {name}"] = velocities(networks[made.params], made)
            if made.cacheable:
                found[f"{count} {name} cached"] = velocities(networks[made.params], made, cached=True)
    save_file(found, folder / f"{everyone.grid.get_rank()}.safetensors")
    for params in (replace(LONGCAT, hidden_size=24, num_heads=3), replace(WAN, num_attention_heads=3)):
        with pytest.raises(ConfigError, match="3 heads of attention cannot be shared among 4 processes"):
            share_tokens(backbone(params), everyone.context)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, torch.Tensor]]:
    folder = tmp_path_factory.mktemp("found")
    run_together(4, in_each_process, folder)
    return [load_file(folder / f"{rank}.safetensors") for rank in range(4)]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("name", PASSES)
def test_several_processes_are_one(name: str, count: int, found: list[dict[str, torch.Tensor]]) -> None:
    made = PASSES[name]
    expected = velocities(backbone(made.params), made)
    assert expected[:, :, :, made.layout.clean :].abs().mean() > 0.05
    for each in found:
        assert_close(each[f"{count} {name}"], expected, atol=1e-5, rtol=0)
        if made.cacheable:
            assert_close(each[f"{count} {name} cached"], expected, atol=1e-5, rtol=0)
