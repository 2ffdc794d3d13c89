"""What is written about a step that went wrong."""

import json
import math
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn

from enliven.errors import NotFinite
from enliven.systems.longcat import ReferenceSkip
from enliven.train.faults import fault
from enliven.types import LatentClip


def test_the_file_has_the_batch_the_losses_and_the_random_numbers(tmp_path: Path) -> None:
    layout = ReferenceSkip(0, 0)(frames=1, context=0, reference=False)
    clip = LatentClip(torch.randn(1, 2, 1, 4, 4), layout)
    network = nn.ModuleDict({"line": nn.Linear(2, 1)})
    network["line"].weight.grad = torch.tensor([[1.0, math.inf]])
    drawn = [(11, {"clip": clip, "names": ("a",)}), (12, {"x": torch.ones(2), "pair": (torch.zeros(1),)})]
    torch.manual_seed(4)
    error = fault(tmp_path, 7, drawn, {"flow": math.nan}, network)
    assert isinstance(error, NotFinite)
    path = tmp_path / "fault-00000007.safetensors"
    assert str(path) in str(error)
    assert "flow nan" in str(error)
    with safe_open(path, "pt") as file:
        told = {name: json.loads(value) for name, value in file.metadata().items()}
        assert torch.equal(file.get_tensor("0.clip.latents"), clip.latents)
        assert set(file.keys()) == {"0.clip.latents", "1.x", "1.pair.0", "rng"}
        torch.set_rng_state(file.get_tensor("rng"))
        drawn_again = torch.rand(3)
    assert told["seeds"] == [11, 12]
    assert told["losses"] == {"flow": "nan"}
    assert told["gradients not finite"] == ["line.weight"]
    assert told["weights not finite"] == []
    torch.manual_seed(4)
    assert torch.equal(drawn_again, torch.rand(3))


def test_a_full_disk_does_not_hide_the_fault(tmp_path: Path) -> None:
    error = fault(tmp_path / "nothing", 7, [], {"flow": math.nan}, nn.Linear(1, 1))
    assert "flow nan at step 7" in str(error)
    assert "cannot be written" in str(error)
