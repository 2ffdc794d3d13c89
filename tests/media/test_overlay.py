"""The picture that shows who speaks."""

import numpy as np
from PIL import Image

from enliven.media.overlay import COLOURS, LEAST_HEIGHT, draw_speakers
from enliven.media.regions import Box
from enliven.media.speakers import speakers_in_boxes

GREY = Image.new("RGB", (224, 128), (128, 128, 128))
BOXES = [Box(20, 10, 110, 100), Box(10, 120, 120, 220)]


def test_each_speaker_has_a_colour_and_the_background_stays() -> None:
    shown = draw_speakers(GREY, speakers_in_boxes(BOXES, GREY, ["", ""]))
    scale = LEAST_HEIGHT / 128
    assert shown.size == (round(224 * scale), LEAST_HEIGHT)
    pixels = np.array(shown).astype(int)
    for box, colour in zip(BOXES, COLOURS, strict=False):
        middle = pixels[round(scale * (box.top + box.bottom) / 2), round(scale * (box.left + box.right) / 2)]
        tint = np.array(colour) - 128
        assert (np.sign(middle - 128) == np.sign(tint)).all()
        assert pixels[round(scale * box.top) + 1, round(scale * (box.left + box.right) / 2)].tolist() == list(colour)
    assert pixels[round(scale * 5), round(scale * 110)].tolist() == [128, 128, 128]


def test_numbers_and_names_are_written_and_long_names_stay_inside() -> None:
    def changed(names: list[str]) -> np.ndarray:
        nameless = np.array(draw_speakers(GREY, speakers_in_boxes(BOXES, GREY, ["", ""]))).astype(int)
        return np.abs(np.array(draw_speakers(GREY, speakers_in_boxes(BOXES, GREY, names))) - nameless).sum(2) > 0

    scale = LEAST_HEIGHT / 128
    named = changed(["a.wav", ""])
    assert named[:, : round(100 * scale)].any()
    assert not named[:, round(110 * scale) :].any()
    assert not changed(["a_very_long_name_" * 9 + ".wav", ""])[:, round(110 * scale) :].any()


def test_large_pictures_keep_their_size() -> None:
    large = GREY.resize((1120, 640))
    assert draw_speakers(large, ()).size == (1120, 640)
