from dataclasses import replace

import pytest
import torch
from torch import Tensor

from enliven.toonworld.character import FacialHair, Glasses, Hair, Hat, sample_character
from enliven.toonworld.draw import MIDDLE, portrait
from enliven.toonworld.palette import HAIRS

BARE = replace(sample_character(1), hat=Hat.NONE, glasses=Glasses.NONE, facial_hair=FacialHair.NONE, earrings=False)


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
