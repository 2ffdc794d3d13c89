import pytest
from hypothesis import given
from hypothesis import strategies as st

from enliven.systems.sizes import KeepArea, TrainedSize

SOUL = KeepArea(1088 * 1920, 32)


@pytest.mark.parametrize(
    ("picture", "size"),
    [
        ((1080, 1920), (1088, 1920)),
        ((1088, 1920), (1088, 1920)),
        ((1920, 1080), (1920, 1088)),
        ((100, 100), (1440, 1440)),
        ((768, 1024), (1248, 1664)),
    ],
)
def test_soul_keeps_the_area_of_1080p(picture: tuple[int, int], size: tuple[int, int]) -> None:
    assert SOUL(*picture) == size


@given(height=st.integers(64, 4000), width=st.integers(64, 4000))
def test_area_and_aspect_are_nearly_kept(height: int, width: int) -> None:
    """As far as sides in steps allow: a side of a picture of 4 to 1 has 22 steps."""
    if max(height, width) > 4 * min(height, width):
        return
    tall, wide = SOUL(height, width)
    assert tall % 32 == 0
    assert wide % 32 == 0
    assert 0.9 * SOUL.area < tall * wide <= SOUL.area
    assert abs(tall * width / (wide * height) - 1) < 0.05


def test_longcat_takes_the_trained_size_nearest_in_aspect() -> None:
    assert TrainedSize("480p")(900, 1600) == (480, 832)
