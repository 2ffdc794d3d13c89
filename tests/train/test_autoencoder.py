"""Tests of the training of the toon autoencoder: its components, its losses and its crops."""

from itertools import islice

import pytest
import torch
from torch import Tensor

from enliven.models.vae import ToonAutoencoder, ToonAutoencoderParams, fold
from enliven.train.autoencoder import DecoderObjective, begin_linear, crop_batches, picture_losses, seam_loss

PARAMS = ToonAutoencoderParams(channels=6, inner_width=4, outer_width=4, blocks=(1, 1))


def blobs(seed: int) -> Tensor:
    """Nine frames of a soft disc that moves over a soft ground: uint8 ``9 3 32 32``."""
    generator = torch.Generator().manual_seed(seed)
    place, speed, colour = (torch.rand(size, generator=generator) for size in ((2,), (2,), (2, 3)))
    time = torch.arange(9)[:, None, None]
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    centre = 8 + 16 * place
    distance = (rows - centre[0] - speed[0] * time) ** 2 + (columns - centre[1] - speed[1] * time) ** 2
    disc = torch.exp(-distance / 40)[:, None]
    picture = disc * colour[0][:, None, None] + (1 - disc) * colour[1][:, None, None]
    return (picture * 255).round().to(torch.uint8)


@pytest.fixture(scope="module")
def begun() -> ToonAutoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        autoencoder = ToonAutoencoder(PARAMS)
        begin_linear(autoencoder, [blobs(seed) for seed in range(12)], cells=1200)
    return autoencoder


def unseen() -> Tensor:
    return torch.stack([blobs(seed).transpose(0, 1) for seed in range(50, 56)]).float() / 127.5 - 1


def error(autoencoder: ToonAutoencoder) -> float:
    video = unseen()
    return (autoencoder.decode(autoencoder.encode(video)) - video).square().mean().item()


def test_components_are_orthonormal(begun: ToonAutoencoder) -> None:
    basis = begun.analysis.weight[:, :, 0, 0]
    torch.testing.assert_close(basis @ basis.T, torch.eye(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(begun.synthesis.weight[:, :, 0, 0].T, basis)


def test_components_show_pictures_better_than_others_of_their_number(begun: ToonAutoencoder) -> None:
    torch.manual_seed(1)
    basis = torch.linalg.qr(torch.randn(768, 6)).Q.T
    other = ToonAutoencoder(PARAMS)
    other.load_state_dict(begun.state_dict())
    other.load_state_dict(
        {
            "analysis.weight": basis[:, :, None, None],
            "analysis.bias": -basis @ begun.synthesis.bias,
            "synthesis.weight": basis.T[:, :, None, None],
        },
        strict=False,
    )
    assert error(begun) < error(other) / 8


def test_latents_have_a_variance_of_about_one_and_coarse_channels_the_larger(begun: ToonAutoencoder) -> None:
    with torch.no_grad():
        latents = begun.encode(torch.stack([blobs(seed).transpose(0, 1) for seed in range(12)]).float() / 127.5 - 1)
    variance = latents[:, :, 1:].transpose(0, 1).flatten(1).var(dim=1)
    assert variance.mean().item() == pytest.approx(1, abs=0.25)
    assert variance[0] > 2 * variance[-1]


def test_components_are_those_of_a_plain_decomposition_of_all_cells() -> None:
    """In videos that do not move every cell is as likely as any other, so all of them may be decomposed."""
    videos = [blobs(seed)[:1].expand(5, -1, -1, -1) for seed in range(40)]
    torch.manual_seed(0)
    autoencoder = ToonAutoencoder(PARAMS)
    begin_linear(autoencoder, videos, cells=20_000)
    folded = [fold(video[1:].transpose(0, 1)[None] / 127.5 - 1, 8) for video in videos]
    cells = torch.cat(folded).transpose(0, 1).flatten(1)
    centred = cells - cells.mean(dim=1, keepdim=True)
    share = torch.linalg.svdvals(centred).square() / centred.square().sum()
    found = (autoencoder.analysis.weight[:, :, 0, 0] @ centred).square().sum(dim=1) / centred.square().sum()
    torch.testing.assert_close(found, share[:6], atol=0.01, rtol=0)


def test_losses_are_nothing_for_the_target_and_edges_do_not_see_brightness() -> None:
    video = torch.randn(1, 3, 5, 8, 8)
    assert all(loss == 0 for loss in picture_losses(video, video).values())
    brighter = picture_losses(video + 0.5, video)
    assert brighter["edges"].item() == pytest.approx(0, abs=1e-6)
    assert brighter["absolute"].item() == pytest.approx(0.5)
    assert brighter["squared"].item() == pytest.approx(0.5)
    dotted = video.clone()
    dotted[0, 0, 2, 4, 4] += 0.5
    assert picture_losses(dotted, video)["edges"] > 0


def test_seams_are_steps_of_the_error_between_cells_and_nowhere_else() -> None:
    error = torch.zeros(1, 3, 2, 8, 12)
    error[:, :, :, :, 4:8] = 1.0  # the second of three columns of cells of 4 pixels
    assert seam_loss(error, 4).item() == pytest.approx(0.25 * 1.0)
    error = torch.zeros(1, 3, 2, 8, 12)
    error[:, :, :, 4:, :4] = 1.0  # a cell
    assert seam_loss(error, 4).item() == pytest.approx(0.25 * (4 / 12 + 4 / 16))
    inside = torch.zeros(1, 3, 2, 8, 12)
    inside[..., 1:3, 1:3] = 1.0
    assert seam_loss(inside, 4) == 0
    assert seam_loss(inside + 0.5, 4) == 0
    assert seam_loss(inside[..., :4, :4], 4) == 0, "a single cell has no neighbours"


def test_the_decoder_learns_and_the_encoder_does_not(begun: ToonAutoencoder) -> None:
    objective = DecoderObjective(begun, noise=0.0)
    video = ((unseen()[:1] + 1) * 127.5).to(torch.uint8)
    with torch.no_grad():
        exact = begun.decode(begun.encode(video.float() / 127.5 - 1))
        target = video.float() / 127.5 - 1
        expected = picture_losses(exact, target) | {"seams": seam_loss(exact - target, begun.spatial_factor)}
    losses = objective.losses({"video": video}, 0)
    torch.testing.assert_close({name: loss.detach() for name, loss in losses.items()}, expected)
    sum(losses.values()).backward()  # type: ignore[union-attr]
    assert begun.analysis.weight.grad is None
    assert begun.synthesis.weight.grad is not None
    begun.zero_grad()
    objective.noise = 0.5
    assert objective.losses({"video": video}, 0)["squared"] > losses["squared"]


def test_crops_are_pieces_of_the_videos_and_reach_every_edge() -> None:
    axes = torch.arange(12, dtype=torch.uint8)
    whole = torch.stack(torch.meshgrid(axes, axes, axes, indexing="ij"), dim=1)
    torch.manual_seed(0)
    corners = set()
    for batch in islice(crop_batches([whole], batch=4, frames=5, side=8), 60):
        assert batch["video"].shape == (4, 3, 5, 8, 8)
        for crop in batch["video"]:
            time, top, left = crop[:, 0, 0, 0].tolist()
            assert torch.equal(crop, whole[time : time + 5, :, top : top + 8, left : left + 8].transpose(0, 1))
            corners.add((time, top, left))
    for axis, last in enumerate((7, 4, 4)):
        assert {corner[axis] for corner in corners} == set(range(last + 1))


def test_crops_follow_from_the_random_state_alone() -> None:
    videos = [blobs(0), blobs(1)]
    batches = crop_batches(videos, batch=2, frames=5, side=8)
    next(batches)
    torch.manual_seed(5)
    first = next(batches)["video"]
    torch.manual_seed(5)
    assert torch.equal(next(crop_batches(videos, batch=2, frames=5, side=8))["video"], first)
