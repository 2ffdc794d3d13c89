"""Tests of the toon autoencoder: causal, exact in pieces, linear where it says so."""

import pytest
import torch
from torch import Tensor

from enliven.models.vae import (
    DecodeStream,
    ToonAutoencoder,
    ToonAutoencoderParams,
    VideoAutoencoder,
    fold,
    unfold,
)

PARAMS = ToonAutoencoderParams(channels=4, inner_width=8, outer_width=8, blocks=(2, 1))


@pytest.fixture(scope="module")
def autoencoder() -> ToonAutoencoder:
    """Every weight random, also those that start at zero: else the past would not be looked at."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        autoencoder = ToonAutoencoder(PARAMS).eval().requires_grad_(False)
        for parameter in autoencoder.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        autoencoder.latent_mean.normal_()
        autoencoder.latent_std.uniform_(0.5, 2)
    return autoencoder


@pytest.fixture
def latents() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(2, 4, 6, 2, 3)


def test_contract(autoencoder: ToonAutoencoder) -> None:
    assert isinstance(autoencoder, VideoAutoencoder)
    assert isinstance(autoencoder.stream(), DecodeStream)


@pytest.mark.parametrize("pieces", [[1] * 6, [3, 3], [1, 4, 1], [5, 1]])
def test_decoding_in_pieces_equals_decoding_whole(
    autoencoder: ToonAutoencoder, latents: Tensor, pieces: list[int]
) -> None:
    whole = autoencoder.decode(latents)
    stream = autoencoder.stream()
    parts = [stream.push(piece) for piece in latents.split(pieces, dim=2)]
    assert [part.shape[2] for part in parts] == [4 * pieces[0] - 3, *(4 * count for count in pieces[1:])]
    torch.testing.assert_close(torch.cat(parts, dim=2), whole, atol=1e-5, rtol=1e-4)


def test_decoding_goes_on_from_a_kept_state(autoencoder: ToonAutoencoder, latents: Tensor) -> None:
    first = autoencoder.stream()
    before = first.push(latents[:, :, :2])
    kept = {name: value.clone() for name, value in first.state().items()}
    first.push(latents[:, :, 2:])
    after = autoencoder.stream(kept).push(latents[:, :, 2:])
    whole = autoencoder.decode(latents)
    torch.testing.assert_close(torch.cat([before, after], dim=2), whole, atol=1e-5, rtol=1e-4)


def test_each_state_is_one_frame_and_keeps_no_more_alive(autoencoder: ToonAutoencoder, latents: Tensor) -> None:
    stream = autoencoder.stream()
    stream.push(latents)
    for value in stream.state().values():
        assert value.shape[1] == 1
        assert value.untyped_storage().nbytes() == value.numel() * value.element_size()


def test_the_decoder_sees_the_past_and_not_the_future(autoencoder: ToonAutoencoder, latents: Tensor) -> None:
    other = latents.clone()
    other[:, :, 3] += 1
    changed = (autoencoder.decode(other) - autoencoder.decode(latents)).abs().amax(dim=(0, 1, 3, 4)) > 1e-4
    assert changed.nonzero()[:, 0].tolist() == list(range(9, 21))


def test_the_first_latent_owns_one_frame_and_every_other_one_four(autoencoder: ToonAutoencoder) -> None:
    torch.manual_seed(2)
    video = torch.rand(1, 3, 13, 8, 8) * 2 - 1
    latents = autoencoder.encode(video)
    assert latents.shape == (1, 4, 4, 1, 1)
    for frame in range(13):
        other = video.clone()
        other[:, :, frame] *= -1
        moved = (autoencoder.encode(other) - latents).abs().amax(dim=(0, 1, 3, 4)) > 1e-4
        assert moved.nonzero()[:, 0].tolist() == [-(-frame // 4)]


@pytest.mark.parametrize(("frames", "near"), [(2, 1), (4, 1), (6, 5), (12, 9)])
def test_frames_that_do_not_fill_latents_are_refused(autoencoder: ToonAutoencoder, frames: int, near: int) -> None:
    with pytest.raises(ValueError, match=f"{frames} frames .* 4k \\+ 1 frames, such as {near}$"):
        autoencoder.encode(torch.zeros(1, 3, frames, 8, 8))


def test_fold_and_unfold_are_inverse_and_keep_neighbours_together() -> None:
    video = torch.randn(2, 3, 8, 16, 24)
    cells = fold(video, 8)
    assert torch.equal(unfold(cells, 2, 8), video)
    assert torch.equal(cells[3, :, 1, 2].sort().values, video[1, :, 4:, 8:, 16:].flatten().sort().values)


def test_the_linear_part_inverts_itself_on_the_span_of_its_components() -> None:
    torch.manual_seed(3)
    autoencoder = ToonAutoencoder(PARAMS)
    basis = torch.linalg.qr(torch.randn(768, 4)).Q.T
    autoencoder.load_state_dict(
        {
            "analysis.weight": basis[:, :, None, None],
            "analysis.bias": torch.zeros(4),
            "synthesis.weight": basis.T[:, :, None, None],
            "synthesis.bias": torch.zeros(768),
            "latent_mean": torch.randn(4),
            "latent_std": torch.rand(4) + 0.5,
        },
        strict=False,
    )
    latents = torch.randn(1, 4, 3, 2, 2)
    video = autoencoder.paint(latents, {})
    first, rest = video[:, :, :4], video[:, :, 4:]
    later = autoencoder.encode(torch.cat([first[:, :, 3:], rest], dim=2))[:, :, 1:]
    torch.testing.assert_close(later, latents[:, :, 1:], atol=1e-5, rtol=1e-4)
