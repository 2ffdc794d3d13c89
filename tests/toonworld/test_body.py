from dataclasses import replace

import torch
from torch import Tensor

from enliven.toonworld.character import Shirt, sample_character
from enliven.toonworld.draw import draw, portrait
from enliven.toonworld.state import FaceState

ANYONE = sample_character(1)


def _changed(name: str, value: float) -> Tensor:
    """Which pixels change when one value of a neutral face changes."""
    neutral = FaceState.neutral(1)
    other = replace(neutral, **{name: torch.full((1,), value)})
    return ((draw(ANYONE, other) - draw(ANYONE, neutral)).abs().amax(dim=(0, 1)) > 0.05).nonzero()


def test_the_hand_is_hidden_until_it_gestures() -> None:
    assert len(_changed("gesture", 0.01)) == 0
    rows, columns = _changed("gesture", 1.0).unbind(dim=1)
    assert rows.min() > 80
    assert columns.min() > 80


def test_shirts_differ_on_the_chest_only() -> None:
    plain = portrait(replace(ANYONE, shirt=Shirt.PLAIN))
    for shirt in list(Shirt)[1:]:
        rows = ((portrait(replace(ANYONE, shirt=shirt)) - plain).abs().amax(dim=0) > 0.05).nonzero()[:, 0]
        assert len(rows) > 20, shirt
        assert rows.min() > 95, shirt
