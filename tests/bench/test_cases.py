from pathlib import Path

import pytest
import torch

from enliven.bench.cases import FPS, Case, held_out, long_case, recorded_cases
from enliven.errors import ConfigError
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
