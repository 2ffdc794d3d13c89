"""Tests of cuts with a pivot; those with stitched contexts are tested through batches."""

from dataclasses import replace

import pytest
import torch

from enliven.data.encoded import EncodedClip
from enliven.train.cuts import Cutting, PivotCuts, StitchedCuts
from enliven.types import AttentionRule, LatentLayout, Role

LATENTS, FRAMES, OVERLAP = 9, 5, 2
PICTURES = 100


def arrange(*, frames: int, context: int, reference: bool) -> LatentLayout:
    """Everything sees everything; the pivot stands first."""
    total = frames + int(reference)
    roles = (Role.REFERENCE,) * reference + (Role.CONTEXT,) * context + (Role.NOISE,) * (frames - context)
    return LatentLayout(roles, tuple(map(float, range(total))), (AttentionRule(range(total), (range(total),)),))


def clip() -> EncodedClip:
    """Latent ``j`` is ``j``, the picture of frame ``i`` is ``100 + i``."""
    shown = torch.arange(0, 4 * LATENTS - 3, 4)
    return EncodedClip(
        latents=torch.arange(float(LATENTS))[None, :, None, None].expand(3, -1, 2, 2),
        references=(PICTURES + shown).float()[:, None, None, None].expand(-1, 3, 2, 2),
        reference_frames=shown,
        audio=torch.zeros(1, 33, 2, 4),
        mouth=torch.zeros(1, 33, 5),
        caption="",
        silent=False,
    )


def cuts(**changes: float) -> PivotCuts:
    torch.manual_seed(0)
    return PivotCuts(arrange, FRAMES, OVERLAP, **{"free": 0.0, "blur": 0.0, **changes})


@pytest.mark.parametrize("cut", [StitchedCuts(), PivotCuts(arrange)])
def test_papers_are_strategies(cut: Cutting) -> None:
    assert isinstance(cut, Cutting)


def test_a_pivot_stands_before_latents_of_four_frames_each() -> None:
    cutting, starts = cuts(), set()
    for _ in range(60):
        cut = cutting([clip()] * 2)
        pivot, *times = cut.clip.latents[0, 0, :, 0, 0].tolist()
        assert pivot >= PICTURES
        assert times == [times[0] + i for i in range(FRAMES)]
        first = int(times[0])
        assert cut.heard == range(4 * first - 3, 4 * (first + FRAMES) - 3), "all video frames of these latents"
        assert torch.equal(cut.given, cut.clip.latents[:, :, : cut.clip.layout.clean])
        starts.add(first)
    assert starts == set(range(1, LATENTS - FRAMES + 1)), "never the latent that holds a single frame"


def test_overlaps_and_openings_come_as_often_as_said() -> None:
    cutting = cuts(continuing=0.4, opening=0.3)
    made = [cutting([clip()]) for _ in range(400)]
    continuing = [cut.clip.layout.clean == 1 + OVERLAP for cut in made]
    assert sum(continuing) / 400 == pytest.approx(0.4, abs=0.06)
    before = [cut.clip.latents[0, 0, 0, 0, 0] - PICTURES == cut.heard.start - 1 for cut in made]
    by_chance = (1 - 0.3) / LATENTS
    assert sum(before) / 400 == pytest.approx(0.3 + by_chance, abs=0.07)


def opened(cutting: PivotCuts, continuing: bool, count: int = 200) -> float:
    """How often the pivot is the moment before, of cuts with an overlap or without; see ``clip`` for the numbers."""
    made = [cutting([clip()]) for _ in range(count)]
    chosen = [cut for cut in made if (cut.clip.layout.clean > 1) == continuing]
    before = [cut.clip.latents[0, 0, 0, 0, 0] - PICTURES == cut.heard.start - 1 for cut in chosen]
    return sum(map(float, before)) / len(chosen)


@pytest.mark.parametrize("continuing", [False, True])
def test_the_pivot_can_always_or_never_be_the_moment_before(continuing: bool) -> None:
    assert opened(cuts(opening=1.0), continuing) == 1
    assert opened(cuts(opening=0.0), continuing) < 2.5 / LATENTS


def test_overlaps_open_only_when_all_others_do() -> None:
    cutting = cuts(continuing=0.5, opening=0.75)
    assert opened(cutting, continuing=False) == 1
    assert opened(cutting, continuing=True) == pytest.approx(0.5 + 0.5 / LATENTS, abs=0.15)
    assert opened(cuts(continuing=0.5, opening=0.5), continuing=True) < 2.5 / LATENTS


def test_without_a_portrait_the_clip_begins_with_its_single_frame() -> None:
    cut = cuts(free=1.0)([clip()])
    assert cut.clip.latents[0, 0, :, 0, 0].tolist() == list(range(FRAMES + 1))
    assert cut.clip.layout.clean == 0
    assert cut.heard == range(4 * FRAMES + 1)
    assert cut.given.shape[2] == 0


def test_the_pivot_is_never_blurred() -> None:
    cutting, blurred = cuts(continuing=1.0, blur=0.5), 0
    for _ in range(30):
        cut = cutting([clip()])
        truth = cut.clip.latents[:, :, : cut.clip.layout.clean]
        assert torch.equal(cut.given[:, :, :1], truth[:, :, :1])
        blurred += not torch.equal(cut.given, truth)
    assert 5 < blurred < 25


def test_several_people_are_always_shown() -> None:
    torch.manual_seed(0)
    shown = StitchedCuts(FRAMES, OVERLAP, text=0.3, image=0.3).shown()
    clean = [shown([clip()]).clip.layout.clean for _ in range(200)]
    assert set(clean) == {1, 1 + OVERLAP}
    assert clean.count(1) / 200 == pytest.approx(0.6, abs=0.12)


@pytest.mark.parametrize("cutting", [StitchedCuts(FRAMES, OVERLAP), PivotCuts(arrange, FRAMES, OVERLAP)])
@pytest.mark.parametrize("frames", [1, 3])
def test_of_who_is_described_nothing_is_given(cutting: StitchedCuts | PivotCuts, frames: int) -> None:
    torch.manual_seed(0)
    for _ in range(20):
        cut = cutting.described(frames)([clip()])
        assert cut.clip.latents[0, 0, :, 0, 0].tolist() == list(range(frames))
        assert (cut.clip.layout.clean, cut.given.shape[2]) == (0, 0)
        assert cut.heard == range(4 * frames - 3)


def test_an_overlap_shows_what_the_clip_goes_on_from() -> None:
    torch.manual_seed(0)
    come = replace(clip(), before=clip().latents + 50)
    cut = cuts(continuing=1.0, patchy=0.0)([come, clip()])
    given, truth = cut.given[:, 0, :, 0, 0], cut.clip.latents[:, 0, :, 0, 0]
    assert torch.equal(given[:, 0], truth[:, 0])
    assert torch.equal(given[0, 1:], truth[0, 1 : 1 + OVERLAP] + 50)
    assert torch.equal(given[1, 1:], truth[1, 1 : 1 + OVERLAP])


def test_what_a_clip_goes_on_from_may_have_changed_in_patches() -> None:
    wide = replace(clip(), latents=clip().latents.repeat(1, 1, 8, 8), references=clip().references.repeat(1, 1, 8, 8))
    come, cutting, shares = replace(wide, before=wide.latents + 50), cuts(continuing=1.0, patchy=0.5), list[float]()
    for _ in range(200):
        cut = cutting([come, wide])
        truth = cut.clip.latents[:, :, : 1 + OVERLAP]
        assert torch.equal(cut.given[1], truth[1]), "what goes on from itself stays"
        assert torch.equal(cut.given[:, :, :1], truth[:, :, :1]), "so does the pivot"
        old = (cut.given[0, :, 1:] - truth[0, :, 1:]) == 50
        assert torch.equal(old | (cut.given[0, :, 1:] == truth[0, :, 1:]), torch.ones_like(old))
        assert torch.equal(old, old[:1, :1].expand_as(old)), "in the same place at all times"
        squares = old[0, 0].unfold(0, 2, 2).unfold(1, 2, 2).float().mean((-1, -2))
        assert set(squares.unique().tolist()) <= {0.0, 1.0}, "patches whole"
        shares.append(old.float().mean().item())
    assert sum(share == 1 for share in shares) / 200 == pytest.approx(0.55, abs=0.13), "some chose no patch"
    assert 0.1 < sum(shares) / 200 - 0.5 < 0.4
    assert sum(0 < share < 1 for share in shares) > 50
