from dataclasses import replace

import pytest
import torch

from enliven.errors import RequestError
from enliven.toonworld.character import FacialHair, Glasses, Hat, sample_character
from enliven.toonworld.draw import draw, draw_pair, portrait
from enliven.toonworld.motion import calm_motion
from enliven.toonworld.state import FaceState

BARE = replace(sample_character(1), hat=Hat.NONE, glasses=Glasses.NONE, facial_hair=FacialHair.NONE, earrings=False)


@pytest.mark.parametrize("seed", range(40))
def test_anybody_in_any_pose_is_a_picture(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    state = calm_motion(6, 1.0, generator, amplitude=2.0).with_mouth(*torch.rand(5, 6, generator=generator))
    frames = draw(sample_character(seed), state, (64, 64))
    assert frames.shape == (6, 3, 64, 64)
    assert frames.isfinite().all()
    assert frames.min() >= 0
    assert frames.max() <= 1


def test_size_changes_sharpness_not_content() -> None:
    small, large = portrait(BARE, (64, 64)), portrait(BARE, (256, 256))
    assert (torch.nn.functional.avg_pool2d(large[None], 4)[0] - small).abs().mean() < 0.02


def test_frames_do_not_depend_on_their_neighbours() -> None:
    state = calm_motion(40, 10.0, torch.Generator().manual_seed(4))
    assert torch.allclose(draw(BARE, state)[30:32], draw(BARE, state[30:32]), atol=1e-5)


def test_a_pair_is_two_people_side_by_side() -> None:
    left, right = sample_character(2), sample_character(5)
    neutral = FaceState.neutral(2)
    talking = replace(neutral, mouth_open=torch.ones(2))
    quiet = draw_pair((left, neutral), (right, neutral))
    assert quiet.shape == (2, 3, 128, 224)
    change = (draw_pair((left, talking), (right, neutral)) - quiet).abs().amax(dim=(0, 1, 2)) > 0.05
    assert change[:112].any()
    assert not change[112:].any()


def test_a_pair_of_different_lengths_is_refused() -> None:
    with pytest.raises(RequestError, match="3 frames, the right one for 2"):
        draw_pair((BARE, FaceState.neutral(3)), (BARE, FaceState.neutral(2)))
