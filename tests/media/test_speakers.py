"""Who speaks in a picture: from boxes, from masks, from found faces."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from enliven.errors import MediaError, RequestError
from enliven.media.regions import Box
from enliven.media.speakers import FaceFinder, find_speakers, person_boxes, speakers_in_boxes, speakers_in_masks

PICTURE = Image.new("RGB", (60, 40))
LEFT, RIGHT = Box(5, 2, 35, 28), Box(4, 31, 36, 58)


def mask(folder: Path, name: str, box: Box, size: tuple[int, int] = (60, 40)) -> Path:
    image = Image.new("L", size)
    image.paste(255, (box.left, box.top, box.right, box.bottom))
    image.save(folder / name)
    return folder / name


def test_boxes_and_masks_of_the_same_pixels_are_the_same_speakers(tmp_path: Path) -> None:
    paths = [mask(tmp_path, "a.png", LEFT), mask(tmp_path, "b.png", RIGHT)]
    names = ["a.wav", "b.wav"]
    for one, other in zip(
        speakers_in_boxes([LEFT, RIGHT], PICTURE, names), speakers_in_masks(paths, PICTURE, names), strict=True
    ):
        assert one.box == other.box
        assert one.name == other.name
        assert torch.equal(one.mask, other.mask)
        assert int(one.mask.sum()) == (one.box.bottom - one.box.top) * (one.box.right - one.box.left)


def test_every_voice_needs_a_place() -> None:
    with pytest.raises(RequestError, match="1 boxes for 2 voices"):
        speakers_in_boxes([LEFT], PICTURE, ["a", "b"])
    with pytest.raises(RequestError, match="0 masks for 2 voices"):
        speakers_in_masks([], PICTURE, ["a", "b"])


def test_masks_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    good = mask(tmp_path, "good.png", LEFT)
    empty = mask(tmp_path, "empty.png", Box(0, 0, 0, 0))
    small = mask(tmp_path, "small.png", Box(0, 0, 5, 5), (30, 20))
    over = mask(tmp_path, "over.png", Box(5, 27, 35, 40))
    text = tmp_path / "text.png"
    text.write_text("no picture")
    for path, kind, message in (
        (empty, RequestError, "empty.png is black all over"),
        (small, RequestError, "small.png is 30 x 20, but the picture 60 x 40"),
        (over, RequestError, "good.png and over.png share 30 white pixels"),
        (text, MediaError, "text.png is not a picture"),
        (tmp_path / "none.png", MediaError, "does not exist"),
    ):
        with pytest.raises(kind, match=message):
            speakers_in_masks([good, path], PICTURE, ["a", "b"])


def finder(*faces: tuple[int, int, int, int]) -> FaceFinder:
    return lambda picture: list(faces)


def test_found_people_are_named_from_left_to_right() -> None:
    found = find_speakers(finder((10, 40, 20, 50), (10, 10, 20, 20)), PICTURE, ["a", "b"])
    assert [speaker.name for speaker in found] == ["a", "b"]
    assert found[0].box.right <= found[1].box.left
    assert found[0].mask[15, 15]
    assert found[1].mask[15, 45]


def test_a_finder_sees_the_picture() -> None:
    picture = PICTURE.copy()
    picture.paste((255, 0, 0), (20, 10, 30, 20))

    def red(pixels: torch.Tensor) -> list[tuple[int, int, int, int]]:
        rows, columns = (pixels[0] > 200).nonzero().unbind(1)
        return [(int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1)]

    (found,) = find_speakers(red, picture, ["a"])
    assert found.box == Box(7, 18, 26, 32)


def test_another_number_of_faces_than_voices_is_refused() -> None:
    with pytest.raises(RequestError, match="1 faces were found in the picture, but there are 2 voices"):
        find_speakers(finder((1, 1, 9, 9)), PICTURE, ["a", "b"])


def test_people_above_each_other_are_parted_by_height() -> None:
    upper, lower = person_boxes([Box(10, 10, 30, 30), Box(60, 14, 80, 34)], 100, 50)
    assert upper.bottom <= lower.top
    assert (upper.left, lower.left) == (5, 9)
