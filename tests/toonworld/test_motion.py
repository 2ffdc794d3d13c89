import math

import pytest
import torch
from torch import Tensor

from enliven.toonworld.motion import calm_motion
from enliven.toonworld.state import FaceState

FPS = 25.0
FIVE_MINUTES = 7500


def _motion(frames: int = FIVE_MINUTES, amplitude: float = 1.0, seed: int = 0) -> FaceState:
    return calm_motion(frames, FPS, torch.Generator().manual_seed(seed), amplitude)


def _starts(events: Tensor) -> int:
    return int((events[1:] & ~events[:-1]).sum())


def test_the_mouth_stays_closed() -> None:
    motion = _motion(50)
    assert torch.equal(motion.stack()[:, :5], FaceState.neutral(50).stack()[:, :5])


def test_the_head_stays_within_a_few_pixels_and_never_jumps() -> None:
    motion = _motion()
    travel = motion.shift_x.max() - motion.shift_x.min()
    assert 1.0 < 128 * travel < 2.5
    assert motion.roll.abs().max() < math.radians(2.5)
    for name in ("shift_x", "shift_y", "yaw", "pitch", "roll"):
        values = getattr(motion, name)
        assert values.diff().abs().max() < 0.12 * values.abs().max()


def test_nothing_leaves_its_range() -> None:
    motion = _motion(amplitude=3.0)
    for name, low in (("gaze_x", -1), ("gaze_y", -1), ("brow", -1), ("blink", 0), ("breath", 0), ("gesture", 0)):
        values = getattr(motion, name)
        assert values.min() >= low - 1e-5, name
        assert values.max() <= 1 + 1e-5, name


def test_people_blink_and_gesture_as_often_as_people_do() -> None:
    motion = _motion()
    assert 12 < _starts(motion.blink > 0.5) / 5 < 30
    assert 0.08 < (motion.gesture > 0.15).float().mean() < 0.22
    assert 60 / 4.5 < _starts(motion.breath > 0.5) / 5 < 60 / 2.5


def test_life_goes_on_to_the_last_second() -> None:
    for part in (_motion()[:1500], _motion()[-1500:]):
        assert _starts(part.blink > 0.5) > 5
        assert part.shift_x.std() > 0.001
        assert part.gaze_x.unique().numel() > 20


def test_amplitude_scales_the_head() -> None:
    assert torch.allclose(_motion(100, amplitude=2.0).yaw, 2 * _motion(100).yaw)
    assert not _motion(100, amplitude=0.0).roll.any()


@pytest.mark.parametrize("frames", [0, 1])
def test_very_short_clips(frames: int) -> None:
    assert len(_motion(frames)) == frames
