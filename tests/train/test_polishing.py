"""Tests of polishing: guesses must lie over the very pixels they stand for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from enliven.data.clips import make_clip, save_clip
from enliven.data.encoded import encode_clip, save_encoded
from enliven.errors import ConfigError
from enliven.models.networks import Networks
from enliven.models.vae import ToonAutoencoder
from enliven.train.autoencoder import seam_loss
from enliven.train.batches import ClipBatches, Drops
from enliven.train.cuts import StitchedCuts
from enliven.train.polishing import PolishingObjective, guess, guessed_crops, moving, save_guesses
from tiny import tiny_networks

FRAMES = 21


@pytest.fixture(scope="module")
def networks() -> Networks:
    return tiny_networks()


@pytest.fixture
def batches(networks: Networks, tmp_path: Path) -> ClipBatches:
    (tmp_path / "clips").mkdir()
    (tmp_path / "encoded").mkdir()
    for seed in range(2):
        clip = make_clip(seed, None, frames=FRAMES, size=(32, 32))
        save_clip(clip, tmp_path / "clips" / f"{seed}.safetensors")
        encoded = encode_clip(clip, networks.autoencoder, networks.audio)
        save_encoded(encoded, tmp_path / "encoded" / f"{seed}.safetensors")
    cut = StitchedCuts(4, 1, text=0.3, image=0.3)
    return ClipBatches(tmp_path / "encoded", networks.text, cut, batch=2, drops=Drops(0, 0, 0))


class Knowing:
    """A backbone that knows the truth of a batch."""

    blocks = nn.ModuleList()

    def __init__(self, batch: Mapping[str, Any]) -> None:
        self.truth = batch["clip"].latents

    def __call__(self, latents: Tensor, sigma: Tensor, *_: Any) -> Tensor:
        return (latents - self.truth) / sigma.clamp(min=1e-3)[:, None, :, None, None]


def test_a_guess_stands_for_the_latents_it_says(batches: ClipBatches) -> None:
    torch.manual_seed(0)
    starts = set()
    for _ in range(12):
        batch = batches.make()
        guessed, which = guess(Knowing(batch), batch, 0.5)
        truth = [batches.clips[name].latents[:, which.start : which.stop] for name in batch["names"]]
        torch.testing.assert_close(guessed, torch.stack(truth), atol=1e-4, rtol=0)
        starts.add(which.start)
    assert {0, 1} < starts, "without a picture, after one, and in the middle"


@pytest.mark.parametrize("last", [0.4, 1.0])
def test_what_is_guessed_carries_as_much_noise_as_the_last_step_finds(batches: ClipBatches, last: float) -> None:
    torch.manual_seed(0)
    levels = []
    for _ in range(20):
        batch = batches.make()
        clean = batch["clip"].layout.clean

        class Watching(Knowing):
            def __call__(self, latents: Tensor, sigma: Tensor, *given: Any) -> Tensor:
                assert not sigma[:, :clean].any()  # noqa: B023 - called at once
                levels.append(sigma[:, clean:])  # noqa: B023
                return super().__call__(latents, sigma, *given)

        guess(Watching(batch), batch, last)
    seen = torch.cat([each.flatten() for each in levels])
    assert 0.6 * last <= seen.min() < 0.7 * last
    assert 0.95 * last < seen.max() <= min(1.05 * last, 1.0)


def test_crops_lie_over_their_pixels(networks: Networks, batches: ClipBatches, tmp_path: Path) -> None:
    """Guesses replaced by the encoder's own latents must be those of the cropped video."""
    autoencoder = networks.autoencoder
    assert isinstance(autoencoder, ToonAutoencoder)
    torch.manual_seed(0)

    (tmp_path / "guesses").mkdir()
    for number in range(3):
        batch = batches.make()
        guessed, which = guess(Knowing(batch), batch, 0.5)
        for name, latents in zip(batch["names"], guessed, strict=True):
            tensors = {"guessed": latents.half().contiguous(), "first": torch.tensor(which.start)}
            save_file(tensors, tmp_path / "guesses" / f"{number:05d}-{name}")
    crops = guessed_crops(tmp_path / "guesses", tmp_path / "clips", autoencoder, batch=3, latents=2, cells=2)
    for _ in range(5):
        crop = next(crops)
        video = crop["video"].float() / 127.5 - 1
        assert video.shape[2] == 8
        first = torch.cat([video[:, :, :1], video], dim=2)
        latents = autoencoder.encode(first)[:, :, 1:]
        torch.testing.assert_close(latents, crop["guessed"].float(), atol=0.02, rtol=0.02)


def test_guesses_are_written_and_learnt_from(networks: Networks, batches: ClipBatches, tmp_path: Path) -> None:
    assert list(save_guesses(networks.backbone, batches, tmp_path / "guesses", 2, 0.5)) == [1, 2]
    autoencoder = networks.autoencoder
    crops = guessed_crops(tmp_path / "guesses", tmp_path / "clips", autoencoder, batch=2, latents=2, cells=2)
    objective = PolishingObjective(autoencoder)
    for step in (0, 1):
        batch = next(crops)
        losses = objective.losses(batch, step)
        assert sorted(losses) == ["absolute", "edges", "seams", "squared"]
        assert all(torch.isfinite(value) for value in losses.values())
    batch = next(crops)
    with torch.no_grad():
        painted = autoencoder.paint(batch["guessed"].float(), {})
        truth = batch["video"][:, :, 3:].float() / 127.5 - 1
        assert objective.losses(batch, 0)["seams"] == seam_loss(painted - truth, autoencoder.spatial_factor)
    with pytest.raises(ConfigError, match="no guesses"):
        next(guessed_crops(tmp_path, tmp_path / "clips", autoencoder, batch=1))


def test_where_a_video_moves_errors_weigh_seven_times_as_much() -> None:
    video = torch.zeros(2, 3, 4, 64, 64)
    video[0, :, ::2, 16:48, 16:48] = 1.0
    weight = moving(video)
    assert weight[0, 0, 0, 32, 32] / weight[0, 0, 0, 0, 0] == pytest.approx(7.0)
    assert weight[0, 0, 0, 16, 32] < weight[0, 0, 0, 32, 32]
    torch.testing.assert_close(weight.mean(dim=(1, 2, 3, 4)), torch.ones(2))
    assert (weight[1] == 1).all()
