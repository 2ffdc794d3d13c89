"""Tests of the eyes: they are those of VGG-16, under its published names."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from enliven.errors import WeightsError
from enliven.train.evae import perceived_distance
from enliven.train.eyes import open_eyes

# Of torchvision's vgg16: the number of each convolution in ``features``, and its width; where pictures are halved.
PUBLISHED = {
    **{0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256},
    **{17: 512, 19: 512, 21: 512, 24: 512, 26: 512, 28: 512},
}
HALVED = (4, 9, 16, 23)


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    made, before, state = torch.Generator().manual_seed(0), 3, {}
    for index, width in PUBLISHED.items():
        state[f"features.{index}.weight"] = torch.randn(width, before, 3, 3, generator=made) * (2 / 9 / before) ** 0.5
        state[f"features.{index}.bias"] = torch.randn(width, generator=made) * 0.1
        before = width
    return state


@pytest.fixture
def folder(weights: dict[str, Tensor], tmp_path: Path) -> Path:
    save_file(weights | {"head.fc.bias": torch.zeros(1000)}, tmp_path / "model.safetensors")
    return tmp_path


def test_views_are_those_before_pictures_are_halved(folder: Path, weights: dict[str, Tensor]) -> None:
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    mean, spread = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    seen, expected = (pixels - mean[:, None, None]) / spread[:, None, None], []
    for index in PUBLISHED:
        if index - 1 in HALVED:
            expected.append(seen)
            seen = F.max_pool2d(seen, 2)
        seen = F.conv2d(seen, weights[f"features.{index}.weight"], weights[f"features.{index}.bias"], padding=1).relu()
    views = open_eyes(folder)(pixels * 2 - 1)
    assert [view.shape[-1] for view in views] == [32, 16, 8, 4, 2]
    for view, wanted in zip(views, [*expected, seen], strict=True):
        torch.testing.assert_close(view, wanted, rtol=1e-4, atol=1e-4)


def test_what_is_perceived_can_be_learnt_from(folder: Path) -> None:
    eyes, video = open_eyes(folder), torch.rand(1, 3, 2, 32, 32) * 2 - 1
    painted = (video + 0.2 * torch.randn_like(video)).requires_grad_()
    assert perceived_distance(eyes, video, video) == 0
    perceived_distance(eyes, painted, video).backward()
    assert painted.grad is not None
    assert painted.grad.abs().max() > 0
    assert not any(value.requires_grad for value in eyes.parameters())


def test_other_weights_are_refused(weights: dict[str, Tensor], tmp_path: Path) -> None:
    save_file({name: value for name, value in weights.items() if ".28." not in name}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"2 missing \(features\.28"):
        open_eyes(tmp_path)
