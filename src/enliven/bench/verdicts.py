"""Whether a difference is sure. People are the sample: each counts once, however many clips were seen of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.stats import t as student

SURE = 0.95  # of two-sided intervals


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a claim: the mean ``difference``, half of its interval, and a ``word`` for the sign.

    With one person there is no ``margin``, with none no difference either: they are not numbers then.
    """

    difference: float
    margin: float
    word: str

    @property
    def numbers(self) -> str:
        """Difference and margin, as far as there are any."""
        if math.isnan(self.difference):
            return ""
        return f"{self.difference:+.3g}" + ("" if math.isnan(self.margin) else f" ± {self.margin:.2g}")


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean and its standard error, which is not a number for a single value."""
    seen = torch.tensor(values, dtype=torch.float64)
    error = seen.std().item() / math.sqrt(len(seen)) if len(seen) > 1 else math.nan
    return seen.mean().item(), error


def judge(differences: Sequence[float]) -> Verdict:
    """The verdict on one difference for each person: sure, where the interval of Student's t leaves out zero."""
    if not differences:
        return Verdict(math.nan, math.nan, "not measured")
    mean, error = mean_and_error(differences)
    margin = error * float(student.ppf((1 + SURE) / 2, len(differences) - 1))
    if not abs(mean) > margin:
        return Verdict(mean, margin, "undecided")
    return Verdict(mean, margin, "shown" if mean > 0 else "the opposite")
