"""What every shipped autoencoder promises: pieces are the whole, and another decoder is of the same latents."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import enliven
from enliven.models.networks import load_network
from enliven.models.vae import VideoAutoencoder

SHIPPED = sorted((Path(enliven.__file__).parent / "weights").glob("*/autoencoder*"))


@pytest.fixture(params=SHIPPED, ids=lambda path: f"{path.parent.name}-{path.name}")
def autoencoder(request: pytest.FixtureRequest) -> VideoAutoencoder:
    loaded = load_network(request.param)
    assert isinstance(loaded, VideoAutoencoder)
    return loaded


def latents(channels: int) -> Tensor:
    return torch.randn(1, channels, 6, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("pieces", [[1] * 6, [2, 3, 1]])
def test_pieces_are_the_whole(autoencoder: VideoAutoencoder, pieces: list[int]) -> None:
    given = latents(autoencoder.channels)
    stream = autoencoder.stream()
    parts = [stream.push(piece) for piece in given.split(pieces, dim=2)]
    assert [part.shape[2] for part in parts] == [4 * pieces[0] - 3, *(4 * count for count in pieces[1:])]
    assert_close(torch.cat(parts, dim=2), autoencoder.decode(given), atol=1e-4, rtol=1e-4)


def test_what_a_video_begins_with_is_encoded_as_it_is_alone(autoencoder: VideoAutoencoder) -> None:
    side = 2 * autoencoder.spatial_factor
    video = torch.rand(1, 3, 9, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert_close(autoencoder.encode(video)[:, :, :2], autoencoder.encode(video[:, :, :5]), atol=1e-4, rtol=1e-4)


def test_a_stream_goes_on_from_what_was_kept(autoencoder: VideoAutoencoder) -> None:
    given = latents(autoencoder.channels)
    first = autoencoder.stream()
    first.push(given[:, :, :3])
    kept = {name: value.clone() for name, value in first.state().items()}
    rest = autoencoder.stream(kept).push(given[:, :, 3:])
    assert_close(rest, autoencoder.decode(given)[:, :, 9:], atol=1e-4, rtol=1e-4)
    afresh = autoencoder.stream().push(given[:, :, 2:])[:, :, 1:]
    assert not torch.allclose(rest, afresh[:, :, -rest.shape[2] :], atol=1e-4), "the past is seen"


@pytest.mark.parametrize("folder", [path for path in SHIPPED if path.name != "autoencoder"], ids=lambda path: path.name)
def test_another_decoder_is_of_the_same_latents(folder: Path) -> None:
    full, other = load_network(folder.parent / "autoencoder"), load_network(folder)
    side = 2 * full.spatial_factor
    video = torch.rand(1, 3, 9, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert_close(other.encode(video), full.encode(video), atol=2e-3, rtol=2e-3)
