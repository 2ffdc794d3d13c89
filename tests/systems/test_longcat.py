import logging
import math

import pytest

from enliven.systems.longcat import LONGCAT, ReferenceSkip
from enliven.types import LatentLayout, Role


def skipping(layout: LatentLayout) -> list[int]:
    """Times of the noise frames that do not see the reference, which is frame 0."""
    blind = [rule.queries for rule in layout.attention if not any(0 in keys for keys in rule.keys)]
    noise = [frame for queries in blind for frame in queries if layout.roles[frame] is Role.NOISE]
    return [int(layout.positions[frame]) for frame in noise]


@pytest.mark.parametrize(
    ("position", "radius", "expected"),
    [
        (10, 1, [9, 10, 11]),
        (10, 3, [7, 8, 9, 10, 11, 12, 13]),
        (10, 0, []),
        (4, 1, [4, 5]),
        (0, 3, []),
        (3, 3, [4, 5, 6]),
        (23, 1, [22, 23]),
        (24, 2, [22, 23]),
        (30, 3, []),
        (-10, 3, []),
        (10.5, 1, [10, 11]),
    ],
)
def test_who_skips_the_reference(position: float, radius: int, expected: list[int]) -> None:
    layout = ReferenceSkip(position, radius)(frames=24, context=4, reference=True)
    assert skipping(layout) == expected


def test_the_model_skips_one_frame_on_either_side_as_the_paper_says() -> None:
    assert skipping(LONGCAT.arrange(frames=24, context=4, reference=True)) == [9, 10, 11]


def test_reference_has_its_own_place_in_time() -> None:
    layout = ReferenceSkip(10, 1)(frames=24, context=4, reference=True)
    assert layout.positions == (10, *range(24))
    assert layout.roles == (Role.REFERENCE, *[Role.CONTEXT] * 4, *[Role.NOISE] * 20)


def test_clean_frames_see_only_their_own_kind() -> None:
    layout = ReferenceSkip(10, 1)(frames=24, context=4, reference=True)
    assert [(rule.queries, rule.keys) for rule in layout.attention[:2]] == [
        (range(1), (range(1),)),
        (range(1, 5), (range(1, 5),)),
    ]
    assert layout.cacheable


def test_portrait_sees_itself_and_is_seen_by_all() -> None:
    layout = ReferenceSkip(10, 1)(frames=24, context=1, reference=False)
    assert [(rule.queries, rule.keys) for rule in layout.attention] == [
        (range(1), (range(1),)),
        (range(1, 24), (range(24),)),
    ]
    assert layout.positions == tuple(range(24))


def test_without_anything_given_all_see_all() -> None:
    layout = ReferenceSkip(10, 1)(frames=24, context=0, reference=False)
    assert [(rule.queries, rule.keys) for rule in layout.attention] == [(range(24), (range(24),))]
    assert not layout.cacheable


def test_soft_mask_hides_the_anchor_and_weakens_its_neighbours() -> None:
    layout = ReferenceSkip(10, 2, soft=0.5)(frames=24, context=4, reference=True)
    weakened = {
        int(layout.positions[frame]): rule.bias for rule in layout.attention if rule.bias for frame in rule.queries
    }
    assert skipping(layout) == [10]
    assert weakened == dict.fromkeys((8, 9, 11, 12), (math.log(0.5), 0.0))


def test_a_cut_window_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        ReferenceSkip(23, 2)(frames=24, context=4, reference=True)
        ReferenceSkip(10, 3)(frames=24, context=4, reference=True)
    assert [record.getMessage() for record in caplog.records] == [
        "frames 21 to 25 would skip the reference, but only 4 to 23 are made"
    ]


@pytest.mark.parametrize(("radius", "soft"), [(-1, None), (1, 0.0), (1, 1.5)])
def test_impossible_windows_are_refused(radius: int, soft: float | None) -> None:
    with pytest.raises(ValueError, match="expected radius"):
        ReferenceSkip(10, radius, soft)
