"""Tests of the toon autoencoder: causal, exact in pieces, linear where it says so."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import enliven
from enliven.models.networks import load_network
from enliven.models.vae import (
    TOON_16,
    TOON_16_EFFICIENT,
    DecodeStream,
    ToonAutoencoder,
    ToonAutoencoderParams,
    VideoAutoencoder,
    fold,
    unfold,
)
from enliven.toonworld.character import sample_character
from enliven.toonworld.draw import portrait

PARAMS = ToonAutoencoderParams(channels=4, inner_width=8, outer_width=8, blocks=(2, 1))
PARAMS_16 = replace(PARAMS, spatial_factor=16, middle_widths=(6,), blocks=(2, 2, 1))
SHIPPED = Path(enliven.__file__).parent / "weights/longcat-toon/autoencoder"


@pytest.fixture(scope="module", params=[PARAMS, PARAMS_16], ids=["8", "16"])
def autoencoder(request: pytest.FixtureRequest) -> ToonAutoencoder:
    """Every weight random, also those that start at zero: else the past would not be looked at."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        autoencoder = ToonAutoencoder(request.param).eval().requires_grad_(False)
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
    side = autoencoder.spatial_factor
    video = torch.rand(1, 3, 13, side, side) * 2 - 1
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
    later = autoencoder.encode(autoencoder.paint(latents, {}))[:, :, 1:]
    torch.testing.assert_close(later, latents[:, :, 1:], atol=1e-5, rtol=1e-4)


def test_painting_in_pieces_has_the_gradients_of_painting_whole(autoencoder: ToonAutoencoder, latents: Tensor) -> None:
    def seen(pieces: list[int]) -> Tensor:
        memory: dict[str, Tensor] = {}
        given = latents.clone().requires_grad_()
        video = torch.cat([autoencoder.paint(piece, memory) for piece in given.split(pieces, dim=2)], dim=2)
        return torch.autograd.grad(video[:, :, -1].square().sum(), given)[0]

    whole = seen([6])
    assert (whole.abs().amax(dim=(0, 1, 3, 4)) > 0).sum() > 1
    torch.testing.assert_close(seen([1, 3, 2]), whole, atol=1e-4, rtol=1e-3)


def test_levels_and_blocks_must_agree_and_fill_a_cell() -> None:
    with pytest.raises(ValueError, match=r"blocks \(1, 1, 1\) for 2 levels"):
        ToonAutoencoderParams(blocks=(1, 1, 1))
    with pytest.raises(ValueError, match="5 levels do not grow a cell of 8 pixels"):
        ToonAutoencoderParams(middle_widths=(4, 4, 4), blocks=(1, 1, 1, 1, 1))


def test_only_the_decoder_trains_when_the_encoder_is_frozen() -> None:
    autoencoder = ToonAutoencoder(PARAMS_16)
    autoencoder.freeze_encoder()
    kept = {name for name, value in autoencoder.named_parameters() if not value.requires_grad}
    assert kept == {"analysis.weight", "analysis.bias"}
    assert list(autoencoder.stages()) == ["inner", "middle0", "outer"]


def test_the_shipped_weights_are_of_the_default_sizes_and_show_a_drawing() -> None:
    autoencoder = load_network(SHIPPED)
    assert autoencoder.params == ToonAutoencoderParams()
    drawn = portrait(sample_character(5))[None, :, None] * 2 - 1
    error = (autoencoder.decode(autoencoder.encode(drawn)) - drawn).square().mean()
    assert error < 4 * 10 ** (-26 / 10)


def test_the_efficient_decoder_costs_a_fifth_and_a_second_of_video_is_affordable() -> None:
    """At 256 x 256 pixels and 25 frames a second, in thousand millions of multiplications."""
    costs = []
    for params in (TOON_16, TOON_16_EFFICIENT):
        with torch.device("meta"):
            autoencoder = ToonAutoencoder(params)
        with FlopCounterMode(display=False) as counter:
            autoencoder.paint(torch.zeros(1, 48, 1, 16, 16, device="meta"), {})
        costs.append(counter.get_total_flops() / 2 * 25 / 4 / 1e9)
    teacher, student = costs
    assert teacher < 20
    assert student < teacher / 5
