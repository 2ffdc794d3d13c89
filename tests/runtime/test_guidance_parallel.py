"""Passes that several processes share: the guided velocity is that of one."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.testing import assert_close

from enliven.diffusion.guidance import Guidance, Guide, ProjectedGuidance
from enliven.models.backbone import ClipCache
from enliven.runtime.context_parallel import share_tokens
from enliven.runtime.guidance_parallel import rehearse, share_passes
from enliven.runtime.mesh import Parallel, grid, join
from passes import PASSES, backbone, inputs, step
from several_processes import run_together

GUIDES: dict[str, Guide] = {
    "three passes": Guidance(3.0, 2.0),
    "two": Guidance(2.0, 2.0),
    "one": Guidance(1.0, 1.0),
    "projected": ProjectedGuidance(4.0),
}
MADE = PASSES["longcat-continuation"]


def guided(network: Any, guide: Any) -> Tensor:
    """A guided velocity, for which one cache serves all passes."""
    given, cache = inputs(MADE), ClipCache()
    return guide(lambda cond: step(network, given | {"cond": cond}, 0.7, cache), given["cond"])


@torch.no_grad()
def in_each_process(folder: Path) -> None:
    mesh = join(Parallel(context=2, guidance=2), "cpu")
    network, passes = backbone(MADE.params), []
    network.register_forward_pre_hook(lambda *_: passes.append(1))
    found, said = {}, list[str]()
    logging.getLogger(share_passes.__module__).addFilter(lambda record: said.append(record.getMessage()) or False)
    alone = grid(Parallel(guidance=4), torch.device("cpu")).get_group("guidance")
    for name, guide in GUIDES.items():
        found[f"4 {name}"] = guided(network, share_passes(guide, alone))
    share_tokens(network, mesh.context)
    passes.clear()
    for name, guide in GUIDES.items():
        found[f"2 {name}"] = guided(network, share_passes(guide, mesh.guidance))
    found |= {"passes": torch.tensor(len(passes)), "warnings": torch.tensor(len(said))}
    save_file(found, folder / f"{mesh.grid.get_rank()}.safetensors")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    folder = tmp_path_factory.mktemp("found")
    run_together(4, in_each_process, folder)
    return [load_file(folder / f"{rank}.safetensors") for rank in range(4)]


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("name", GUIDES)
def test_shared_passes_and_tokens_make_the_same_velocity(name: str, count: int, found: list[dict[str, Tensor]]) -> None:
    with torch.no_grad():
        expected = guided(backbone(MADE.params), GUIDES[name])
    assert expected.abs().mean() > 0.05
    for each in found:
        assert_close(each[f"{count} {name}"], expected, atol=1e-5, rtol=0)


def test_two_processes_run_half_of_the_passes_each(found: list[dict[str, Tensor]]) -> None:
    """2 of the 3, 1 of 2, and the only one both of them, as the weights may be shared; 1 of 2 that are projected."""
    assert [int(each["passes"]) for each in found] == [2 + 1 + 1 + 1] * 4


def test_who_asks_for_more_processes_than_passes_is_told_once(found: list[dict[str, Tensor]]) -> None:
    """Four for 3, 2 and 1, two for 1; what is projected has 2 passes as another guide before."""
    assert [int(each["warnings"]) for each in found] == [3 + 1] * 4


def test_a_rehearsal_tells_what_a_guide_asks_for() -> None:
    cond = inputs(MADE)["cond"]
    full, no_text, nothing = rehearse(Guidance(3.0, 2.0), cond)
    assert full is cond
    assert no_text.text is cond.null_text
    assert no_text.audio.any()
    assert not nothing.audio.any()
    assert len(rehearse(ProjectedGuidance(1.0), cond)) == 1
