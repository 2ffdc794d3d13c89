"""Courses of the learning rate."""

import math

import pytest

from enliven.train.rates import share_of_rate


def test_courses() -> None:
    assert share_of_rate("hold", 0.99, 0.5) == 1
    assert [share_of_rate("fall", done, 0.5) for done in (0.0, 0.5, 0.75, 1.0)] == pytest.approx([1, 1, 0.5, 0.01])
    assert share_of_rate("fall", 0.9, 0.0) == 1
    assert share_of_rate("cosine", 0.0, 0.4) == 1
    assert share_of_rate("cosine", 0.25, 0.4) == pytest.approx(0.01 + 0.99 * (1 + math.sqrt(0.5)) / 2)
    assert share_of_rate("cosine", 1.0, 0.4) == pytest.approx(0.01)
