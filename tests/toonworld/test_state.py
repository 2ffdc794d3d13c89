from dataclasses import fields

import pytest
import torch

from enliven.toonworld.motion import calm_motion
from enliven.toonworld.state import FaceState

MOTION = calm_motion(20, 25.0, torch.Generator().manual_seed(0))


def test_slices_join_to_the_whole() -> None:
    joined = FaceState.concatenate([MOTION[:7], MOTION[7:]])
    assert len(MOTION[:7]) == 7
    assert torch.equal(joined.stack(), MOTION.stack())


def test_stacked_values_return_to_their_fields() -> None:
    again = FaceState.unstack(MOTION.stack())
    for field in fields(FaceState):
        assert torch.equal(getattr(again, field.name), getattr(MOTION, field.name))


def test_a_new_mouth_leaves_the_movement_alone() -> None:
    mouth = torch.rand(5, 20, generator=torch.Generator().manual_seed(1))
    speaking = MOTION.with_mouth(*mouth)
    assert torch.equal(speaking.stack()[:, :5], mouth.T)
    assert torch.equal(speaking.stack()[:, 5:], MOTION.stack()[:, 5:])


def test_a_mouth_of_another_length_is_refused() -> None:
    with pytest.raises(Exception, match="20"):
        MOTION.with_mouth(*torch.zeros(5, 19)).stack()
