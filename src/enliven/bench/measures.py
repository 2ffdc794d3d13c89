"""Numbers about two series that should go together: a mouth and its truth, a mouth and its sound."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

MOST_LAG = 6  # frames
LOUDNESS = 0.3  # loudness grows with this power of intensity (Stevens)


def correlation(one: Float[Tensor, "n"], other: Float[Tensor, "n"]) -> float:
    """Pearson's; 0 when one of them does not change."""
    one, other = one - one.mean(), other - other.mean()
    scale = one.norm() * other.norm()
    return (one @ other / scale).item() if scale > 1e-6 else 0.0


def lag_curve(truth: Float[Tensor, "n"], seen: Float[Tensor, "n"], most: int = MOST_LAG) -> dict[int, float]:
    """The correlation when ``seen`` is so many frames late; negative: early."""
    count = len(truth)
    return {
        lag: correlation(truth[max(0, -lag) : count - max(0, lag)], seen[max(0, lag) : count - max(0, -lag)])
        for lag in range(-most, most + 1)
    }


def mean_curve(curves: list[dict[int, float]]) -> dict[int, float]:
    """The mean of curves over the same lags."""
    return {lag: sum(curve[lag] for curve in curves) / len(curves) for lag in curves[0]}


def best_lag(curve: Mapping[int, float]) -> int:
    """Where the curve is highest."""
    return max(curve, key=lambda lag: curve[lag])


def loudness(samples: Float[Tensor, "n"], rate: int, frames: int, fps: float) -> Float[Tensor, "frames"]:
    """The speech envelope: loudness in the middle of each video frame, over about a tenth of a second."""
    power = F.pad(samples, (0, max(0, round(frames / fps * rate) - len(samples)))).square()
    edges = (torch.arange(frames + 1) / fps * rate).round().long().clamp(max=len(power))
    total = F.pad(power.double().cumsum(0), (1, 0))[edges].diff() / edges.diff().clamp(min=1)
    loud = total.clamp(min=0).float() ** LOUDNESS
    kernel = torch.tensor([0.25, 0.5, 0.25])
    return F.conv1d(F.pad(loud[None, None], (1, 1), mode="replicate"), kernel[None, None])[0, 0]
