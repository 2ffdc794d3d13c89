import pytest
import torch

from enliven.bench.ablation_stress import Stressed, strength
from enliven.bench.codebook import OnlyWatch
from enliven.errors import ConfigError, WeightsError
from enliven.systems.carry import KeepLatents, Reencode, RepairLatents
from enliven.types import LatentClip
from tiny import tiny_networks, tiny_soul, tiny_soul_networks

FRAMES = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)


def clip(context: int, given: float = 1.0) -> LatentClip:
    """A pivot, ``context`` frames that were handed over ``given`` times as strong, and frames of noise."""
    layout = tiny_soul().arrange(frames=4, context=context, reference=True)
    latents = torch.randn(1, 4, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    latents[:, :, 1 : 1 + context] *= given
    return LatentClip(latents, layout)


def test_what_is_handed_on_is_stronger_than_what_was_handed_over() -> None:
    handed, networks = clip(2, given=3.0), tiny_soul_networks()
    carried = Stressed(KeepLatents(), 1.25)(handed, FRAMES, 2, networks)
    assert strength(carried.context) == pytest.approx(1.25 * strength(handed.latents[:, :, 1:3]).item(), rel=1e-5)
    same = carried.context / handed.last(2)
    torch.testing.assert_close(same, same.mean().expand_as(same))


def test_the_first_clip_was_handed_nothing_and_its_pivot_does_not_count() -> None:
    first = clip(0)
    first.latents[:, :, 0] = 100.0
    context = Stressed(KeepLatents(), 1.25)(first, FRAMES, 2, tiny_soul_networks()).context
    torch.testing.assert_close(context, 1.25 * first.last(2))


def test_the_codebook_sees_the_stress() -> None:
    handed, networks = clip(2, given=3.0), tiny_soul_networks()
    before = handed.latents.clone()
    repaired = Stressed(RepairLatents(99.0), 1.25)(handed, FRAMES, 2, networks)
    watched = Stressed(OnlyWatch(), 1.25)(handed, FRAMES, 2, networks)
    assert repaired.context.norm(dim=1).max() <= 1.98 + 1e-4  # a percentile of the tiny codebook
    assert watched.context.norm(dim=1).max() > 1.98
    assert repaired.shares == watched.shares
    assert repaired.shares["clipped"] > RepairLatents(99.0)(handed, FRAMES, 2, networks).shares["clipped"]
    assert torch.equal(handed.latents, before), "what is shown was changed"


def test_what_cannot_be_stressed_is_refused() -> None:
    with pytest.raises(ConfigError, match="frames"):
        Stressed(Reencode(), 1.25)
    with pytest.raises(ConfigError, match="gain of 0"):
        Stressed(KeepLatents(), 0.0)
    with pytest.raises(WeightsError, match="no codebook"):
        Stressed(RepairLatents(), 1.25).check(tiny_networks())


def test_a_run_tells_the_percentile_and_the_gain() -> None:
    said = repr(Stressed(RepairLatents(), 1.25).resolved(tiny_soul_networks()))
    assert "percentile=99.0" in said
    assert "gain=1.25" in said
