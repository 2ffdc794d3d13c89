from pathlib import Path

import pytest
import torch

from enliven.bench.cases import FPS, UNTOLD, Case, MovedCase, held_out, long_case, recorded_cases
from enliven.errors import ConfigError
from enliven.toonworld.character import caption
from enliven.toonworld.voice import SPEECH_RATE, Phone, Speech, silence, write_speech


def spoken(seconds: float) -> Speech:
    samples = torch.sin(torch.arange(round(seconds * SPEECH_RATE)) / 20)
    return Speech(samples, (Phone("a", 0.2, seconds - 0.2),), "ah", "test")


def case(seconds: float = 1.0) -> Case:
    return Case("ah", 9_000_001, spoken(seconds), round(seconds * FPS))


def test_the_true_performance_speaks_and_its_silent_twin_does_not() -> None:
    talks, quiet = case(), case().silent()
    assert talks.state.mouth_open.max() > 0.5
    assert quiet.state.mouth_open.max() == 0
    assert torch.equal(talks.state.yaw, quiet.state.yaw)
    assert torch.equal(talks.drawn(slice(3, 6)), talks.drawn()[3:6])


def test_a_performance_can_be_drawn_larger() -> None:
    small, large = case().drawn(slice(3, 5)), case().drawn(slice(3, 5), (256, 256))
    assert large.shape == (2, 3, 256, 256)
    shrunk = torch.nn.functional.avg_pool2d(large.float(), 2)
    assert (shrunk - small).abs().mean() < 2


@pytest.mark.parametrize("seed", [*range(9_000_000, 9_000_004), 9_000_005, 9_000_006])
def test_who_moves_is_the_same_in_another_place_and_another_sweater(seed: int) -> None:
    moved = MovedCase("ah", seed, spoken(4.0), 100)
    here, there = moved.character, moved.there
    assert (there.skin, there.hair, there.geometry) == (here.skin, here.hair, here.geometry)
    assert there.scene not in UNTOLD
    assert there.wall.name != here.wall.name
    assert f"{there.wall.name} wall" in caption(there)
    assert f"{there.cloth.name} sweater" in caption(there)
    assert f"{there.cloth.name} sweater" not in moved.prompt


def test_who_stands_out_from_walls_of_one_colour_only_cannot_move() -> None:
    with pytest.raises(ConfigError, match="no other place for person 9000004"):
        _ = MovedCase("ah", 9_000_004, spoken(1.0), 25).there


def test_the_truth_changes_from_one_frame_to_the_next_and_ends_lie_apart_from_it() -> None:
    moved = MovedCase("ah", 9_000_001, spoken(4.0), 100)
    old, new = (moved.drawn_as(who, slice(48, 52)) for who in (moved.character, moved.there))
    assert torch.equal(moved.drawn(slice(48, 52)), torch.cat([old[:2], new[2:]]))
    assert torch.equal(moved.drawn()[48:52], torch.cat([old[:2], new[2:]]))
    assert moved.ends == (slice(0, 25), slice(75, 100))
    assert moved.settled == slice(75, 100)


def test_held_out_cases_take_another_person_for_each_sentence(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_speech(spoken(1.0), tmp_path / f"{name}.flac")
    cases = held_out(3, tmp_path)
    assert [c.name for c in cases] == ["one", "two", "one"]
    assert len({c.seed for c in cases}) == 3
    assert {c.frames for c in cases} == {25}
    assert min(c.seed for c in cases) >= 9_000_000


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no speech"):
        held_out(2, tmp_path)


def test_a_long_case_repeats_the_sentences_with_their_phones() -> None:
    long = long_case([case(1.0), case(2.0)], 7.0)
    assert long.frames == 175
    assert len(long.speech.samples) == 7 * SPEECH_RATE
    starts = [phone.start for phone in long.speech.phones]
    assert starts == pytest.approx([0.2, 1.5, 3.8, 5.1])
    assert long.state.mouth_open[15] > 0.5
    assert long.state.mouth_open[round(1.25 * FPS)] == 0


def test_recordings_are_cut(tmp_path: Path) -> None:
    write_speech(silence(3.0), tmp_path / "voice.flac")
    (recorded,) = recorded_cases([tmp_path / "voice.flac"], 2.0)
    assert recorded.frames == 50
    assert recorded.speech.seconds == 2.0
