from pathlib import Path

import pytest
import torch

from enliven.models.networks import load_network, save_network
from enliven.models.vae import VideoAutoencoder
from enliven.models.wan_autoencoder import WanAutoencoder, WanAutoencoderParams

SIZES = {"base_dim": 8, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1}


@pytest.fixture(scope="module")
def autoencoder() -> WanAutoencoder:
    torch.manual_seed(0)
    return WanAutoencoder(WanAutoencoderParams(SIZES)).eval().requires_grad_(False)


def test_it_keeps_the_contract(autoencoder: WanAutoencoder) -> None:
    assert isinstance(autoencoder, VideoAutoencoder)
    video = torch.rand(1, 3, 9, 32, 48) * 2 - 1
    latents = autoencoder.encode(video)
    assert latents.shape == (1, 16, 3, 4, 6)
    assert autoencoder.decode(latents).shape == video.shape


def test_pieces_decode_as_the_whole_does(autoencoder: WanAutoencoder) -> None:
    latents = torch.randn(1, 16, 5, 4, 4)
    raw = latents * autoencoder.latent_std + autoencoder.latent_mean
    whole = autoencoder.network.decode(raw).sample
    stream = autoencoder.stream()
    assert stream.state() == {}
    parts = [stream.push(latents[:, :, :1])]
    for piece in latents[:, :, 1:].split([1, 3], dim=2):
        stream = autoencoder.stream(stream.state())
        parts.append(stream.push(piece))
    torch.testing.assert_close(torch.cat(parts, 2), whole, atol=1e-5, rtol=0)


def test_latents_are_normalised_as_published(autoencoder: WanAutoencoder) -> None:
    video = torch.rand(1, 3, 1, 16, 16) * 2 - 1
    raw = autoencoder.network.encode(video).latent_dist.mode()
    mean, std = (torch.tensor(getattr(autoencoder.network.config, f"latents_{name}")) for name in ("mean", "std"))
    expected = (raw - mean.view(1, -1, 1, 1, 1)) / std.view(1, -1, 1, 1, 1)
    torch.testing.assert_close(autoencoder.encode(video), expected)


def test_it_survives_the_disk(autoencoder: WanAutoencoder, tmp_path: Path) -> None:
    save_network(autoencoder, tmp_path, torch.float32)
    latents = torch.randn(1, 16, 2, 4, 4)
    assert torch.equal(load_network(tmp_path).decode(latents), autoencoder.decode(latents))
