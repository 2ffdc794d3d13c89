import pytest
import torch

from enliven.errors import RequestError
from enliven.media.image import fit_to, to_image
from enliven.media.regions import (
    Box,
    bounding_box,
    box_masks,
    check_boxes,
    equal_boxes,
    fit_box,
    fit_masks,
    speaker_regions,
    token_masks,
)
from golden_files import golden


def test_masks_are_resized_as_the_published_code_does() -> None:
    case = golden("preprocess").case("mask_crop")
    fitted = fit_masks(case.inputs["masks"], case.args["height"], case.args["width"])
    assert torch.equal(fitted, case.outputs["masks"])


def test_token_masks_are_those_of_the_published_code() -> None:
    case = golden("preprocess").case("token_mask")
    rows, columns = case.args["grid"]
    tokens = token_masks(case.inputs["masks"], (rows, columns))
    assert torch.equal(tokens.flatten(1).float(), case.outputs["token_masks"])


def test_a_mask_of_the_frame_size_is_left_alone_and_the_middle_is_kept() -> None:
    masks = torch.rand(2, 32, 48)
    assert torch.equal(fit_masks(masks, 32, 48), masks)
    halves = torch.zeros(2, 40, 100)
    halves[0, :, :50] = halves[1, :, 50:] = 1
    assert token_masks(fit_masks(halves, 40, 40), (4, 4)).tolist() == [
        [[True, True, False, False]] * 4,
        [[False, False, True, True]] * 4,
    ]


@pytest.mark.parametrize("frame", [(40, 40), (24, 80), (96, 48), (60, 100), (30, 50)])
def test_boxes_go_where_their_pixels_go(frame: tuple[int, int]) -> None:
    """Each box painted white, and resized with its picture."""
    for box in (Box(20, 5, 40, 50), Box(20, 50, 50, 90)):
        painted = torch.zeros(3, 60, 100, dtype=torch.uint8)
        painted[:, box.top : box.bottom, box.left : box.right] = 255
        seen = bounding_box(fit_to(to_image(painted), *frame).mean(0) > 0)
        moved = fit_box(box, (60, 100), *frame)
        assert max(abs(one - other) for one, other in zip(seen, moved, strict=True)) <= 1, (seen, moved)


def test_boxes_stay_apart_and_what_is_cut_off_is_empty() -> None:
    sizes = [(height, width) for height in (17, 30, 33) for width in (31, 50, 64)]
    pairs = [[fit_box(box, (60, 100), *size) for box in (Box(9, 5, 41, 53), Box(9, 53, 41, 90))] for size in sizes]
    assert all(first.right == second.left for first, second in pairs)
    assert fit_box(Box(10, 0, 50, 20), (60, 100), 30, 30) == Box(5, 0, 25, 0)


def test_boxes_are_pixels_with_y_first() -> None:
    masks = box_masks([Box(1, 2, 3, 5), Box(0, 6, 4, 8)], 4, 8)
    assert masks.int().tolist() == [
        [[0] * 8, [0, 0, 1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 0, 0, 0], [0] * 8],
        [[0, 0, 0, 0, 0, 0, 1, 1]] * 4,
    ]
    assert [bounding_box(mask) for mask in masks] == [Box(1, 2, 3, 5), Box(0, 6, 4, 8)]


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([Box(0, 0, 5, 8)], r"speaker 1, \[0, 0, 5, 8\], leaves the picture, which is 4 high and 8 wide"),
        ([Box(-1, 0, 4, 8)], "leaves the picture"),
        ([Box(0, 0, 4, 4), Box(0, 4, 4, 9)], "speaker 2, .* leaves"),
        ([Box(2, 0, 2, 8)], "is empty"),
        ([Box(0, 5, 4, 4)], "is empty"),
        ([Box(0, 0, 4, 5), Box(2, 3, 4, 8)], "speakers 1 and 2 share 4 pixels"),
    ],
)
def test_boxes_that_cannot_be_are_refused(boxes: list[Box], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        box_masks(boxes, 4, 8)


def test_where_nothing_is_known_people_share_the_picture() -> None:
    """For two, the halves of the published code: rows 10 % to 90 %, a tenth of a half on either side left out."""
    assert equal_boxes(2, 480, 833) == (Box(48, 41, 432, 374), Box(48, 457, 432, 790))
    check_boxes(equal_boxes(5, 480, 833), 480, 833)


def test_regions_are_people_and_then_what_is_left() -> None:
    regions = speaker_regions(box_masks([Box(0, 0, 8, 4), Box(0, 10, 8, 16)], 8, 16), 8, 16)
    assert regions.shape == (1, 3, 8, 16)
    assert (regions.int().sum(1) == 1).all()
    assert regions[0, 2].any(0).nonzero()[:, 0].tolist() == [4, 5, 6, 7, 8, 9]


def test_somebody_who_is_cut_off_is_refused() -> None:
    masks = box_masks([Box(0, 0, 8, 3), Box(0, 6, 8, 10)], 8, 16)
    with pytest.raises(RequestError, match="nothing of speaker 1 is left in a frame of 16 x 16"):
        speaker_regions(masks, 16, 16)


def test_token_masks_of_a_batch_are_those_of_each() -> None:
    masks = (torch.rand(2, 3, 12, 16) > 0.5).float()
    assert torch.equal(token_masks(masks, (3, 4))[1], token_masks(masks[1], (3, 4)))
