"""Something to look at, made by networks in training."""

from pathlib import Path

import torch

from enliven.media.video import read_video
from enliven.models.networks import save_networks
from enliven.train.samples import talking_sample
from tiny import tiny_networks, tiny_spec


def test_a_sample_is_a_video_of_the_network_that_learns(tmp_path: Path) -> None:
    networks = tiny_networks()
    save_networks(networks, tmp_path, torch.float32)
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        talking_sample(tiny_spec(), tmp_path, seconds=0.2)({"backbone": tiny_networks(seed).backbone}, tmp_path / name)
    beside = talking_sample(tiny_spec(), tmp_path, tiny_networks(1).backbone, seconds=0.2)
    beside({"backbone": torch.nn.Linear(1, 1)}, tmp_path / "beside")
    names = ("one", "same", "other", "beside")
    one, same, other, adapted = (read_video(tmp_path / f"{name}.mp4", sound=True) for name in names)
    assert one.frames.shape == (5, 3, 32, 32)
    assert one.audio is not None
    assert torch.equal(one.frames, same.frames)
    assert not torch.equal(one.frames, other.frames)
    assert torch.equal(adapted.frames, other.frames)
