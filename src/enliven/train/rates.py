"""How the learning rate goes over a run, as a share of the highest."""

import math
from typing import Literal

LOWEST = 0.01

Course = Literal["fall", "hold", "cosine"]


def share_of_rate(course: Course, fraction: float, decay: float) -> float:
    """Of the highest rate, when ``fraction`` of the run is done.

    ``fall`` stays at 1 and falls evenly over the last ``decay`` of the run, ``cosine`` falls slowly, quickly, slowly
    over all of it, ``hold`` stays. Nothing falls below a hundredth.
    """
    match course:
        case "hold":
            return 1.0
        case "cosine":
            return LOWEST + (1 - LOWEST) * (1 + math.cos(math.pi * min(1.0, fraction))) / 2
        case "fall":
            left = (1 - fraction) / decay if decay else 1.0
            return max(LOWEST, min(1.0, left))
