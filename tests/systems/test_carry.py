from dataclasses import replace

import pytest
import torch

from enliven.errors import WeightsError
from enliven.models.networks import Networks
from enliven.systems.carry import Carry, KeepLatents, Reencode, RepairLatents
from enliven.systems.longcat import ReferenceSkip
from enliven.types import LatentClip
from tiny import tiny_codebook, tiny_networks


@pytest.fixture(scope="module")
def networks() -> Networks:
    return replace(tiny_networks(), codebook=tiny_codebook())


@pytest.mark.parametrize("carry", [KeepLatents(), Reencode(), RepairLatents()])
def test_context_has_the_size_the_next_clip_needs(carry: Carry, networks: Networks) -> None:
    clip = LatentClip(torch.randn(1, 4, 12, 4, 4), ReferenceSkip(5, 1)(frames=11, context=2, reference=True))
    frames = torch.randint(0, 256, (36, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        assert carry(clip, frames, 2, networks).context.shape == (1, 4, 2, 4, 4)


def test_stitching_hands_over_the_very_latents(networks: Networks) -> None:
    clip = LatentClip(torch.randn(1, 4, 12, 4, 4), ReferenceSkip(5, 1)(frames=11, context=2, reference=True))
    frames = torch.zeros(36, 3, 32, 32, dtype=torch.uint8)
    assert torch.equal(KeepLatents()(clip, frames, 2, networks).context, clip.latents[:, :, 10:])


def test_encoding_again_starts_from_the_last_frames(networks: Networks) -> None:
    clip = LatentClip(torch.zeros(1, 4, 12, 4, 4), ReferenceSkip(5, 1)(frames=11, context=2, reference=True))
    frames = torch.randint(0, 256, (36, 3, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        handed = Reencode()(clip, frames, 2, networks).context
        expected = networks.autoencoder.encode((frames[31:].float() / 127.5 - 1).transpose(0, 1)[None])
    torch.testing.assert_close(handed, expected)


def test_repairing_leads_back_what_has_strayed_and_says_how_much(networks: Networks) -> None:
    """The codebook of the tests has one centroid, 0, and latents within 2 of it are real."""
    latents = torch.zeros(1, 4, 12, 4, 4)
    latents[:, 0, 10, 0, 0], latents[:, 0, 11, 0, 0], latents[:, 0, 3] = 8.0, 1.0, 8.0
    clip = LatentClip(latents, ReferenceSkip(5, 1)(frames=11, context=2, reference=True))
    carried = RepairLatents(100.0)(clip, torch.zeros(36, 3, 32, 32, dtype=torch.uint8), 2, networks)
    assert carried.context[0, 0, :, 0, 0].tolist() == pytest.approx([2.0, 1.0])
    assert carried.shares == {"clipped": pytest.approx(1 / 32)}
    assert clip.latents[0, 0, 10, 0, 0] == 8.0


def test_the_codebook_says_how_many_are_left_alone_where_nobody_else_does() -> None:
    codebook = tiny_codebook()
    codebook.params = replace(codebook.params, percentile=50.0)
    networks = replace(tiny_networks(), codebook=codebook)
    clip = LatentClip(torch.full((1, 4, 12, 4, 4), 4.0), ReferenceSkip(5, 1)(frames=11, context=2, reference=True))
    frames = torch.zeros(36, 3, 32, 32, dtype=torch.uint8)
    lengths = [
        carry(clip, frames, 2, networks).context[0, :, 0, 0, 0].norm()
        for carry in (RepairLatents(), RepairLatents(100.0))
    ]
    assert lengths == pytest.approx([1.0, 2.0])
    assert RepairLatents().resolved(networks) == RepairLatents(50.0)
    assert RepairLatents(90.0).resolved(networks) == RepairLatents(90.0)
    assert RepairLatents(required=False).resolved(tiny_networks()) == RepairLatents(required=False)


def test_a_model_without_a_codebook_does_not_repair_in_silence() -> None:
    networks = tiny_networks()
    with pytest.raises(WeightsError, match="no codebook"):
        RepairLatents().check(networks)
    RepairLatents(required=False).check(networks)
    clip = LatentClip(torch.randn(1, 4, 12, 4, 4), ReferenceSkip(5, 1)(frames=11, context=2, reference=True))
    carried = RepairLatents(required=False)(clip, torch.zeros(36, 3, 32, 32, dtype=torch.uint8), 2, networks)
    assert torch.equal(carried.context, clip.last(2))
    assert not carried.shares


@pytest.mark.parametrize("percentile", [-1.0, 101.0])
def test_a_percentile_that_is_none_is_refused(percentile: float) -> None:
    with pytest.raises(ValueError, match=r"0\.\.100"):
        RepairLatents(percentile)
