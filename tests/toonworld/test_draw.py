from dataclasses import replace

import pytest
import torch
from torch import Tensor

from enliven.toonworld.character import FacialHair, Glasses, Hair, Hat, sample_character
from enliven.toonworld.draw import MIDDLE, draw, draw_pair, portrait
from enliven.toonworld.motion import calm_motion
from enliven.toonworld.palette import HAIRS
from enliven.toonworld.state import FaceState

BARE = replace(sample_character(1), hat=Hat.NONE, glasses=Glasses.NONE, facial_hair=FacialHair.NONE, earrings=False)


def _changed(name: str, value: float) -> Tensor:
    """Which pixels change when one value of a neutral face changes."""
    neutral = FaceState.neutral(1)
    other = replace(neutral, **{name: torch.full((1,), value)})
    return ((draw(BARE, other) - draw(BARE, neutral)).abs().amax(dim=(0, 1)) > 0.05).nonzero()


@pytest.mark.parametrize("seed", range(40))
def test_anybody_in_any_pose_is_a_picture(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    state = calm_motion(6, 1.0, generator, amplitude=2.0).with_mouth(*torch.rand(5, 6, generator=generator))
    frames = draw(sample_character(seed), state, (64, 64))
    assert frames.shape == (6, 3, 64, 64)
    assert frames.isfinite().all()
    assert frames.min() >= 0
    assert frames.max() <= 1


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


def test_the_hand_is_hidden_until_it_gestures() -> None:
    assert len(_changed("gesture", 0.01)) == 0
    rows, columns = _changed("gesture", 1.0).unbind(dim=1)
    assert rows.min() > 80
    assert columns.min() > 80


def test_teeth_and_tongue_show_in_an_open_mouth() -> None:
    opened = replace(FaceState.neutral(1), mouth_open=torch.full((1,), 0.8))
    bare = draw(BARE, opened)
    for name in ("teeth", "tongue"):
        assert ((draw(BARE, replace(opened, **{name: torch.ones(1)})) - bare).abs() > 0.2).any(), name


def test_size_changes_sharpness_not_content() -> None:
    small, large = portrait(BARE, (64, 64)), portrait(BARE, (256, 256))
    assert (torch.nn.functional.avg_pool2d(large[None], 4)[0] - small).abs().mean() < 0.02


def test_frames_do_not_depend_on_their_neighbours() -> None:
    state = calm_motion(40, 10.0, torch.Generator().manual_seed(4))
    assert torch.allclose(draw(BARE, state)[30:32], draw(BARE, state[30:32]), atol=1e-5)


@pytest.mark.parametrize("style", list(Hair))
def test_hair_leaves_the_face_free_and_hats_hide_it(style: Hair) -> None:
    green = replace(HAIRS[0], rgb=(0.0, 1.0, 0.0))
    character = replace(BARE, hair=style, hair_colour=green)
    plain, hatted = (_greenness(portrait(replace(character, hat=hat))) for hat in (Hat.NONE, Hat.BEANIE))
    framing = 128 * character.geometry.framing
    middle = int(128 * MIDDLE)
    face = (slice(middle + int(0.25 * framing), middle + int(0.9 * framing)), slice(52, 76))
    assert not plain[face].any()
    assert plain.sum() > 150
    assert not hatted[: middle - int(0.55 * framing)].any()


def _greenness(picture: Tensor) -> Tensor:
    return picture[1] - torch.maximum(picture[0], picture[2]) > 0.35


def test_a_pair_is_two_people_side_by_side() -> None:
    left, right = sample_character(2), sample_character(5)
    neutral = FaceState.neutral(2)
    talking = replace(neutral, mouth_open=torch.ones(2))
    quiet = draw_pair((left, neutral), (right, neutral))
    assert quiet.shape == (2, 3, 128, 224)
    change = (draw_pair((left, talking), (right, neutral)) - quiet).abs().amax(dim=(0, 1, 2)) > 0.05
    assert change[:112].any()
    assert not change[112:].any()
