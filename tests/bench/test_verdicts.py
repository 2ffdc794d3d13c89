import math

import pytest
from scipy.stats import ttest_1samp

from enliven.bench.verdicts import judge, mean_and_error


def test_the_error_is_that_of_the_mean() -> None:
    mean, error = mean_and_error([1.0, 2.0, 3.0])
    assert (mean, error) == pytest.approx((2.0, 1 / math.sqrt(3)))
    assert math.isnan(mean_and_error([1.0])[1])


@pytest.mark.parametrize(
    ("differences", "margin"),
    [  # quantiles of printed tables of t: 12.706, 4.303 and 2.776 for 1, 2 and 4 degrees of freedom
        ([1.0, 2.0], 12.706 * 0.5),
        ([1.0, 2.0, 3.0], 4.303 / math.sqrt(3)),
        ([1.0, 2.0, 3.0, 4.0, 5.0], 2.776 / math.sqrt(2)),
    ],
)
def test_the_margin_is_that_of_student(differences: list[float], margin: float) -> None:
    assert judge(differences).margin == pytest.approx(margin, rel=1e-3)
    interval = ttest_1samp(differences, 0).confidence_interval(0.95)
    assert judge(differences).margin == pytest.approx((interval.high - interval.low) / 2)


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        ([1.0, 0.9, 1.1], "shown"),
        ([-1.0, -0.9, -1.1], "the opposite"),
        ([1.0, 2.0, 3.0], "undecided"),  # 3.5 standard errors, which would do for many people
        ([1.0, 1.0, 2.0, 2.0, 3.0, 3.0], "shown"),
        ([8.0], "undecided"),
        ([0.0, 0.0], "undecided"),
        ([], "not measured"),
    ],
)
def test_few_people_have_to_agree_well(differences: list[float], said: str) -> None:
    assert judge(differences).word == said


def test_only_numbers_that_there_are_are_told() -> None:
    assert judge([1.0, 0.9, 1.1]).numbers == "+1 ± 0.25"
    assert judge([-8.0]).numbers == "-8"
    assert judge([]).numbers == ""
