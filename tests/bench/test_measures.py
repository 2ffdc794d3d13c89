import math

import pytest
import torch

from enliven.bench.measures import best_lag, correlation, lag_curve, loudness, mean_curve


def wave(frames: int, late: float = 0.0) -> torch.Tensor:
    time = torch.arange(frames) - late
    return torch.sin(time / 3) + 0.5 * torch.sin(time / 1.7 + 1)


def test_correlation_ignores_scale_and_offset_and_knows_no_direction_in_stillness() -> None:
    series = wave(200)
    assert correlation(series, 3 * series + 2) == pytest.approx(1, abs=1e-5)
    assert correlation(series, -series) == pytest.approx(-1, abs=1e-5)
    assert correlation(series, torch.full((200,), 0.4)) == 0


@pytest.mark.parametrize("late", [-3, 0, 2])
def test_the_lag_is_positive_when_the_mouth_is_late(late: int) -> None:
    curve = lag_curve(wave(200), wave(200, late))
    assert best_lag(curve) == late
    assert curve[late] == pytest.approx(1, abs=1e-5)


def test_mean_curve_goes_lag_by_lag() -> None:
    assert mean_curve([{-1: 0.0, 0: 1.0}, {-1: 0.5, 0: 0.0}]) == {-1: 0.25, 0: 0.5}


def test_loudness_follows_the_sound_frame_by_frame() -> None:
    rate, fps, frames = 16_000, 25, 50
    time = torch.arange(rate * 2) / rate
    samples = torch.sin(2 * math.pi * 220 * time) * ((time > 0.8) & (time < 1.2))
    loud = loudness(samples, rate, frames, fps)
    assert loud[:19].max() < 1e-6
    assert loud[31:].max() < 1e-6
    assert loud[22:28].min() > 0.9 * loud.max()


def test_sound_shorter_than_the_video_ends_in_silence() -> None:
    loud = loudness(torch.ones(8000), 16_000, 25, 25)
    assert len(loud) == 25
    assert loud[14:].max() == 0
