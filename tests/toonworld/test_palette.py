import pytest

from enliven.toonworld.palette import INK, WHITE


def test_colours_mix_in_proportion() -> None:
    assert INK.towards(WHITE, 0.0).rgb == INK.rgb
    assert INK.towards(WHITE, 1.0).rgb == pytest.approx(WHITE.rgb)
    assert INK.brightness < INK.towards(WHITE, 0.3).brightness < INK.towards(WHITE, 0.6).brightness
