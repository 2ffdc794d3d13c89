import torch
from PIL import Image

from enliven.bench.ablation_measures import Observed
from enliven.bench.ablation_pictures import Result, curves_plot, frames_sheet, losses_plot, measures_plot


def results() -> dict[str, Result]:
    seen = [Observed({"m": [1.0, 2.0]}, {"m": [0.0, 1.0, 2.0]}), Observed({"m": [3.0]}, {"m": [0.0, 1.0]})]
    frames = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    shades = (("one", 10), ("other", 200))
    return {name: Result(seen, frames + shade, {}, {10: shade / 4, 20: 1.0}) for name, shade in shades}


def colours(picture: Image.Image) -> set[object]:
    return {colour for _, colour in picture.getcolors(2**24) or ()}


def test_whoever_is_seen_in_more_clips_counts_once() -> None:
    assert results()["one"].numbers == {"m": [1.5, 3.0]}


def test_every_variant_has_a_row_of_frames_and_a_colour() -> None:
    sheet = frames_sheet(results())
    assert {(10, 10, 10), (200, 200, 200)} <= colours(sheet)
    for plot in (measures_plot(results()), curves_plot(results()), losses_plot(results())):
        assert {(31, 119, 180), (255, 127, 14)} <= colours(plot)  # the first two of matplotlib
