"""Something to look at, made by networks in training."""

from pathlib import Path

import torch

from enliven.media.video import read_video
from enliven.models.lora import attach_lora, read_lora
from enliven.models.networks import save_networks
from enliven.train.lora import WithLora, save_lora
from enliven.train.samples import talking_sample
from tiny import tiny_networks, tiny_spec


def test_a_sample_is_a_video_of_the_network_that_learns(tmp_path: Path) -> None:
    networks = tiny_networks()
    save_networks(networks, tmp_path, torch.float32)
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        talking_sample(tiny_spec(), tmp_path, seconds=0.2)({"backbone": tiny_networks(seed).backbone}, tmp_path / name)
    one, same, other = (read_video(tmp_path / f"{name}.mp4", sound=True) for name in ("one", "same", "other"))
    assert one.frames.shape == (5, 3, 32, 32)
    assert one.audio is not None
    assert torch.equal(one.frames, same.frames)
    assert not torch.equal(one.frames, other.frames)


def test_a_lora_that_learns_is_at_work_in_its_sample_and_as_it_was_afterwards(tmp_path: Path) -> None:
    save_networks(tiny_networks(), tmp_path, torch.float32)
    network = tiny_networks().backbone
    learns = WithLora(network, 2)
    for adapter in learns.adapters:
        torch.nn.init.normal_(adapter.up, std=0.5)
    save_lora(learns, tmp_path / "lora.safetensors", torch.float32)
    sample, worn = talking_sample(tiny_spec(), tmp_path, seconds=0.2), tiny_networks().backbone
    attach_lora(worn, read_lora(tmp_path / "lora.safetensors"))
    for name, runs in (("bare", tiny_networks().backbone), ("learning", learns), ("worn", worn)):
        sample({"backbone": runs}, tmp_path / name)
    bare, learning, attached = (read_video(tmp_path / f"{name}.mp4").frames for name in ("bare", "learning", "worn"))
    assert torch.equal(learning, attached)
    assert not torch.equal(learning, bare)
    assert {adapter.strength for adapter in learns.adapters} == {0.0}
