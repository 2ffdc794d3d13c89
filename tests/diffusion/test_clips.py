import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enliven.diffusion.clips import ClipGeometry, plan_clips, plan_shots
from enliven.errors import ConfigError, RequestError
from enliven.systems.longcat import ReferenceSkip
from enliven.types import Role

PUBLISHED = ClipGeometry(frames=93, context=13, fps=16)
ARRANGE = ReferenceSkip(10, 1)
PIVOTAL = ClipGeometry(frames=108, context=8, fps=25, pivot=True)


@given(total=st.integers(1, 2000), portrait=st.booleans(), continuing=st.booleans())
def test_clips_tile_any_length(total: int, portrait: bool, continuing: bool) -> None:
    plans = plan_clips(total, PUBLISHED, ARRANGE, portrait=portrait, continuing=continuing)
    assert [frame for plan in plans for frame in plan.emits] == list(range(total))
    assert all(len(plan.hears) == 93 for plan in plans)
    assert all(plan.hears.start + plan.context == plan.emits.start for plan in plans)


def test_first_clip_is_longer_than_the_others() -> None:
    assert [len(plan.emits) for plan in plan_clips(93 + 80 + 5, PUBLISHED, ARRANGE)] == [93, 80, 5]
    assert [len(plan.emits) for plan in plan_clips(93 + 80 + 5, PUBLISHED, ARRANGE, continuing=True)] == [80, 80, 18]


def test_what_each_mode_gives_the_first_clip() -> None:
    free, portrait, continued = (
        plan_clips(93, PUBLISHED, ARRANGE, **mode)[0].layout
        for mode in ({}, {"portrait": True}, {"portrait": True, "continuing": True})
    )
    assert (len(free), free.clean) == (24, 0)
    assert (len(portrait), portrait.clean, portrait.references) == (24, 1, 0)
    assert (len(continued), continued.clean, continued.references) == (25, 5, 1)


def test_continuations_hear_from_the_first_repeated_frame() -> None:
    plans = plan_clips(300, PUBLISHED, ARRANGE, portrait=True)
    assert plans[0].hears == range(93)
    assert plans[1].hears == range(80, 173)
    assert plan_clips(80, PUBLISHED, ARRANGE, continuing=True)[0].hears == range(-13, 80)


def test_all_later_clips_have_one_layout() -> None:
    plans = plan_clips(1000, PUBLISHED, ARRANGE)
    assert len({plan.layout for plan in plans[1:]}) == 1
    assert plans[1].layout.roles.count(Role.NOISE) == 20


def test_nothing_to_make_is_refused() -> None:
    with pytest.raises(RequestError, match="0 frames"):
        plan_clips(0, PUBLISHED, ARRANGE)


@given(total=st.integers(1, 2000), portrait=st.booleans(), continuing=st.booleans())
def test_clips_behind_a_pivot_tile_any_length(total: int, portrait: bool, continuing: bool) -> None:
    plans = plan_clips(total, PIVOTAL, ARRANGE, portrait=portrait, continuing=continuing)
    assert [frame for plan in plans for frame in plan.emits] == list(range(total))
    for plan in plans:
        shown = len(plan.layout) - plan.layout.references
        assert plan.frames == (4 * shown if plan.layout.references else 4 * shown - 3)
        assert plan.hears.start + plan.context == plan.emits.start


@pytest.mark.parametrize("total", [108, 109, 208, 209, 4321])
def test_as_many_clips_as_soul_counts(total: int) -> None:
    """A window of 28 latent frames moves on by 25, which are 100 video frames."""
    assert len(plan_clips(total, PIVOTAL, ARRANGE, portrait=True)) == math.ceil((total - 108) / 100) + 1


def test_thirty_seconds_are_eight_clips() -> None:
    assert len(plan_clips(750, PIVOTAL, ARRANGE, portrait=True)) == 8


def test_a_pivot_stands_before_the_clip_it_is_not_part_of() -> None:
    first, second = plan_clips(200, PIVOTAL, ARRANGE, portrait=True)
    assert (len(first.layout), first.layout.references, first.layout.clean, first.frames) == (28, 1, 1, 108)
    assert (len(second.layout), second.layout.references, second.layout.clean) == (28, 1, 3)
    assert (first.hears, second.hears) == (range(108), range(100, 208))


def test_without_a_portrait_the_first_clip_makes_the_pivot() -> None:
    first, second = plan_clips(200, PIVOTAL, ARRANGE)
    assert (len(first.layout), first.layout.clean, first.frames, first.emits) == (28, 0, 109, range(109))
    assert second.hears == range(101, 209)


@pytest.mark.parametrize(("frames", "context"), [(109, 8), (108, 9), (108, 0), (12, 8)])
def test_impossible_geometry_with_a_pivot_is_refused(frames: int, context: int) -> None:
    with pytest.raises(ConfigError) as caught:
        ClipGeometry(frames, context, fps=25, pivot=True)
    assert "plus 1" not in str(caught.value.hint)


@pytest.mark.parametrize(("frames", "context"), [(92, 13), (93, 12), (93, 0), (17, 13)])
def test_impossible_geometry_is_refused(frames: int, context: int) -> None:
    with pytest.raises(ConfigError):
        ClipGeometry(frames, context, fps=25)


@given(total=st.integers(60, 600), cuts=st.sets(st.integers(1, 59)), portrait=st.booleans(), continuing=st.booleans())
def test_shots_tile_any_length_and_begin_where_they_are_cut(
    total: int, cuts: set[int], portrait: bool, continuing: bool
) -> None:
    for geometry in (PUBLISHED, PIVOTAL):
        plans = plan_shots(total, sorted(cuts), geometry, ARRANGE, portrait=portrait, continuing=continuing)
        assert [plan.index for plan in plans] == list(range(len(plans)))
        assert [frame for plan in plans for frame in plan.emits] == list(range(total))
        assert {plan.emits.start for plan in plans if plan.cut} == cuts
        assert all(plan.context == 0 and plan.hears.start == plan.emits.start for plan in plans if plan.cut)


def test_a_shot_is_planned_like_a_video_of_its_own() -> None:
    plans = plan_shots(300, [100], PIVOTAL, ARRANGE)
    alone = plan_clips(200, PIVOTAL, ARRANGE, portrait=True)
    assert [plan.layout for plan in plans[1:]] == [plan.layout for plan in alone]
    assert [len(plan.emits) for plan in plans] == [100, 108, 92]


@pytest.mark.parametrize("cuts", [[0], [300], [100, 100]])
def test_a_shot_without_a_frame_is_refused(cuts: list[int]) -> None:
    with pytest.raises(RequestError, match="0 frames"):
        plan_shots(300, cuts, PIVOTAL, ARRANGE)
