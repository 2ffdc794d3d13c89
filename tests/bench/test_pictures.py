import torch

from bench_cases import case
from enliven.bench.cases import MovedCase
from enliven.bench.pictures import course_sheet, curves_plot, ends_sheet, moved_sheet, truth_sheet


def test_sheets_show_what_they_are_given() -> None:
    one = case(2.0)
    frames = one.drawn()
    sheet = truth_sheet(one, frames)
    assert sheet.width > 8 * 128
    same, other = (truth_sheet(one, shown).tobytes() for shown in (frames, frames.flip(0)))
    assert sheet.tobytes() == same
    assert same != other
    assert ends_sheet(one, frames).height < sheet.height
    assert course_sheet("motion", frames[:20]).width > 0


def test_a_change_of_scene_is_shown_before_it_and_at_the_end() -> None:
    still = case(4.0)
    moved = MovedCase(still.name, still.seed, still.speech, still.frames)
    old, new = (moved.drawn_as(who) for who in (moved.character, moved.there))
    changing, early = moved.drawn(), moved.drawn()
    early[25:50] = new[25:50]  # not shown
    sheet = moved_sheet([moved], [changing])
    assert moved_sheet([moved], [early]).tobytes() == sheet.tobytes()
    assert moved_sheet([moved], [old]).tobytes() != sheet.tobytes()
    assert moved_sheet([moved, moved], [changing, changing]).height > 1.8 * sheet.height


def test_a_strip_for_every_clip() -> None:
    curve = torch.rand(40)
    one = curves_plot({"a": {"true": curve, "made": curve / 2}})
    two = curves_plot({"a": {"true": curve}, "b": {"true": curve}})
    assert two.height > 1.5 * one.height
