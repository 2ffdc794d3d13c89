import pytest
from hypothesis import given
from hypothesis import strategies as st

from enliven.diffusion.clips import ClipGeometry, plan_clips
from enliven.errors import ConfigError, RequestError
from enliven.systems.longcat import ReferenceSkip
from enliven.types import Role

PUBLISHED = ClipGeometry(frames=93, context=13, fps=16)
ARRANGE = ReferenceSkip(10, 1)


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


@pytest.mark.parametrize(("frames", "context"), [(92, 13), (93, 12), (93, 0), (17, 13)])
def test_impossible_geometry_is_refused(frames: int, context: int) -> None:
    with pytest.raises(ConfigError):
        ClipGeometry(frames, context, fps=25)
