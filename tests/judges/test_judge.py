from pathlib import Path

import pytest
import torch
from torch import nn

from enliven.errors import WeightsError
from enliven.judges.face import FaceNetwork
from enliven.judges.judge import BATCH, load_network, look, save_network
from enliven.judges.quality import QualityNetwork


class Brightness(nn.Module):
    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor]:
        return (pixels.mean(dim=(1, 2, 3)),)


def test_every_frame_is_seen_once_and_in_order() -> None:
    levels = torch.arange(BATCH + 9, dtype=torch.uint8)
    frames = levels[:, None, None, None].expand(-1, 3, 128, 128)
    (seen,) = look(Brightness(), frames)
    assert torch.allclose((seen + 1) * 127.5, levels.float(), atol=1e-3)


def test_frames_of_other_sizes_are_fitted() -> None:
    frames = torch.full((2, 3, 64, 96), 200, dtype=torch.uint8)
    (seen,) = look(Brightness(), frames)
    assert torch.allclose((seen + 1) * 127.5, torch.full((2,), 200.0), atol=0.5)


def test_weights_come_back_frozen_and_nearly_the_same(tmp_path: Path) -> None:
    network = FaceNetwork().eval()
    save_network(network, tmp_path / "judge.safetensors")
    again = load_network(FaceNetwork(), tmp_path / "judge.safetensors")
    pixels = torch.rand(2, 3, 128, 128)
    with torch.no_grad():
        assert torch.allclose(network(pixels)[0], again(pixels)[0], atol=0.02)
    assert not any(parameter.requires_grad for parameter in again.parameters())
    assert (tmp_path / "judge.safetensors").stat().st_size < 2 * 2**20


def test_missing_and_foreign_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no judge weights"):
        load_network(FaceNetwork(), tmp_path / "none.safetensors")
    save_network(QualityNetwork(), tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"other\.safetensors"):
        load_network(FaceNetwork(), tmp_path / "other.safetensors")
