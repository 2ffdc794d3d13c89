from dataclasses import replace

import pytest
import torch

from enliven.errors import RequestError
from enliven.toonworld.character import FacialHair, Glasses, Hair, Hat, sample_character
from enliven.toonworld.draw import draw, draw_group, head_boxes, portrait
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


@pytest.mark.parametrize(("seeds", "width"), [((2, 5), 224), ((2, 5, 11), 320), ((2, 5, 11), 256)])
def test_only_the_one_who_talks_moves(seeds: tuple[int, ...], width: int) -> None:
    people = [sample_character(seed) for seed in seeds]
    neutral = FaceState.neutral(2)
    talking = replace(neutral, mouth_open=torch.ones(2))
    quiet = draw_group([(person, neutral) for person in people], (128, width))
    assert quiet.shape == (2, 3, 128, width)
    heads = head_boxes([(person, neutral) for person in people], (128, width))
    for speaker in range(len(people)):
        states = [talking if index == speaker else neutral for index in range(len(people))]
        spoken = draw_group(list(zip(people, states, strict=True)), (128, width))
        rows, columns = ((spoken - quiet).abs().amax(dim=(0, 1)) > 0.05).nonzero().unbind(1)
        top, left, bottom, right = heads[speaker]
        assert left <= columns.min() <= columns.max() < right
        assert top <= rows.min() <= rows.max() < bottom + 8


def test_a_head_stays_in_its_box_while_it_moves() -> None:
    bald = replace(BARE, hair=Hair.SHORT)
    state = replace(calm_motion(8, 1.0, torch.Generator().manual_seed(3), amplitude=2.0), gesture=torch.zeros(8))
    people = [(bald, state), (bald, FaceState.neutral(8))]
    moving, still = head_boxes(people)
    assert moving[3] - moving[1] > still[3] - still[1]
    for box in (moving, still):
        assert box[3] - box[1] >= 2 * 128 * bald.geometry.framing * bald.geometry.head_width - 2
        assert (box[1] + box[3]) / 2 == pytest.approx(56 if box is moving else 168, abs=4)


def test_groups_that_cannot_be_drawn_are_refused() -> None:
    one = FaceState.neutral(2)
    with pytest.raises(RequestError, match="move for 3, 2 frames"):
        draw_group([(BARE, FaceState.neutral(3)), (BARE, one)])
    with pytest.raises(RequestError, match="move for no frames"):
        draw_group([])
    with pytest.raises(RequestError, match="4 people do not fit side by side into 128 x 256"):
        draw_group([(BARE, one)] * 4, (128, 256))
