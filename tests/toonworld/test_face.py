from dataclasses import replace

import pytest
import torch
from torch import Tensor

from enliven.toonworld.character import FacialHair, Glasses, Hat, sample_character
from enliven.toonworld.draw import MIDDLE, draw
from enliven.toonworld.state import FaceState

BARE = replace(sample_character(1), hat=Hat.NONE, glasses=Glasses.NONE, facial_hair=FacialHair.NONE, earrings=False)


def _changed(name: str, value: float) -> Tensor:
    """Which pixels change when one value of a neutral face changes."""
    neutral = FaceState.neutral(1)
    other = replace(neutral, **{name: torch.full((1,), value)})
    return ((draw(BARE, other) - draw(BARE, neutral)).abs().amax(dim=(0, 1)) > 0.05).nonzero()


@pytest.mark.parametrize(("name", "value"), [("mouth_open", 1.0), ("mouth_width", 1.0), ("mouth_round", 1.0)])
def test_mouth_values_move_the_mouth_and_jaw_alone(name: str, value: float) -> None:
    rows, columns = _changed(name, value).unbind(dim=1)
    below_nose = 128 * (MIDDLE + 0.2 * BARE.geometry.framing)
    assert len(rows) > 15
    assert rows.min() > below_nose
    assert columns.min() > 30
    assert columns.max() < 98


@pytest.mark.parametrize("name", ["blink", "brow", "gaze_x", "gaze_y"])
def test_eye_values_stay_above_the_nose(name: str) -> None:
    rows = _changed(name, 1.0)[:, 0]
    assert len(rows) > 15
    assert rows.max() < 128 * (MIDDLE + 0.35 * BARE.geometry.framing)


def test_teeth_and_tongue_show_in_an_open_mouth() -> None:
    opened = replace(FaceState.neutral(1), mouth_open=torch.full((1,), 0.8))
    bare = draw(BARE, opened)
    for name in ("teeth", "tongue"):
        assert ((draw(BARE, replace(opened, **{name: torch.ones(1)})) - bare).abs() > 0.2).any(), name
