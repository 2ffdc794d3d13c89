"""Who is in a film: read from the file beside it, heard for as long as the film, moved with its frames."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from enliven.data.film_people import FilmPeople, read_people
from enliven.errors import EnlivenError, MediaError, RequestError
from enliven.media.audio import mono_16k
from enliven.media.video import encode_segment
from enliven.media.voices import Turns
from tiny import write_speech

SECONDS = 1.2
TWO: dict[str, Any] = {
    "cond_audio": {"person1": "a.wav", "person2": "b.wav"},
    "bbox": {"person1": [0, 0, 60, 50], "person2": [20, 50, 60, 100]},
}


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A film of 60 x 100 pixels and 1.2 seconds, two recordings as long as that, and a short one."""
    encode_segment([torch.zeros(30, 3, 60, 100, dtype=torch.uint8)], 25, tmp_path / "two.mp4")
    for name, seconds in (("a", SECONDS), ("b", SECONDS), ("half", 0.6)):
        write_speech(tmp_path / f"{name}.wav", seconds)
    return tmp_path / "two.mp4"


def beside(film: Path, values: Any) -> Path:
    film.with_suffix(".speakers.json").write_text(values if isinstance(values, str) else json.dumps(values))
    return film


def read(film: Path, **changes: Any) -> FilmPeople:
    found = read_people(beside(film, TWO | changes))
    assert found is not None
    return found


def test_nobody_is_told_of_without_a_file(film: Path) -> None:
    assert read_people(film) is None


def test_everybody_has_a_voice_and_a_place(film: Path) -> None:
    people = read(film, prompt="Two people talk.")
    assert people.recordings == (film.parent / "a.wav", film.parent / "b.wav")
    assert (people.size, people.prompt) == ((60, 100), "Two people talk.")
    assert people.seconds == pytest.approx(SECONDS)
    assert torch.equal(people.voices(mono_16k), torch.stack([mono_16k(film.parent / f"{name}.wav") for name in "ab"]))


def test_who_listens_is_silent_and_who_waits_is_silent_before(film: Path) -> None:
    listens = read(film, cond_audio={"person2": "a.wav"}).voices(mono_16k)
    assert [bool(voice.any()) for voice in listens] == [False, True]
    halves = {"person1": "half.wav", "person2": "half.wav"}
    waits = read(film, cond_audio=halves, audio_type=Turns.IN_TURN.value).voices(mono_16k)
    assert waits.shape == (2, 19_200)
    assert not waits[0, 9600:].any()
    assert not waits[1, :9600].any()
    assert torch.equal(waits[0, :9600], waits[1, 9600:])


@pytest.mark.parametrize(
    ("size", "boxes"),
    [
        ((60, 100), [(0, 0, 60, 50), (20, 50, 60, 100)]),
        ((30, 50), [(0, 0, 30, 25), (10, 25, 30, 50)]),
        ((60, 60), [(0, 0, 60, 30), (20, 30, 60, 60)]),
    ],
)
def test_places_move_with_the_frames(size: tuple[int, int], boxes: list[tuple[int, ...]], film: Path) -> None:
    heads = read(film).places(*size)
    assert heads is not None
    assert heads.boxes.tolist() == [list(box) for box in boxes]
    assert (heads.size, heads.whole) == (size, True)


def test_one_person_needs_no_place(film: Path) -> None:
    people = read(film, cond_audio={"person1": "b.wav"}, bbox={})
    assert people.places(60, 100) is None
    assert people.voices(mono_16k).shape == (1, 19_200)


def test_somebody_who_is_cut_off_or_too_small_is_refused(film: Path) -> None:
    people = read(film, bbox={"person1": [0, 0, 60, 15], "person2": [20, 50, 60, 100]})
    with pytest.raises(RequestError, match="nothing of speaker 1 is left in clips of 60 x 60"):
        people.places(60, 60)
    small = read(film, bbox={"person1": [0, 0, 60, 50], "person2": [20, 50, 60, 60]})
    assert small.places(60, 100) is not None
    with pytest.raises(RequestError, match="nothing of speaker 2 is left"):
        small.places(60, 100, token=16)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"bbox": {}}, "bbox is missing"),
        ({"bbox": {"person1": [0, 0, 9, 9]}}, "bbox has no person2"),
        ({"bbox": {"person1": [0, 0, 61, 50], "person2": [20, 50, 60, 100]}}, "two.speakers.json: .* leaves the pict"),
        ({"bbox": {"person1": [0, 0, 60, 51], "person2": [20, 50, 60, 100]}}, "share 40 pixels"),
        ({"cond_audio": {"person1": "a.wav", "person2": "missing.wav"}}, r"missing\.wav"),
        ({"cond_audio": {}}, "cond_audio names no recording"),
    ],
)
def test_what_is_said_wrongly_is_refused(changes: dict[str, Any], told: str, film: Path) -> None:
    with pytest.raises(EnlivenError, match=told):
        read_people(beside(film, TWO | changes))


def test_more_people_than_are_heard_and_what_is_no_json_are_refused(film: Path) -> None:
    assert read_people(beside(film, TWO), most=2) is not None
    with pytest.raises(RequestError, match="2 people speak, and the model hears 1"):
        read_people(film, most=1)
    with pytest.raises(RequestError, match="it is no JSON"):
        read_people(beside(film, "{"))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"cond_audio": {"person1": "a.wav", "person2": "half.wav"}}, r"half\.wav lasts 0\.6 s, and the film 1\.2 s"),
        ({"audio_type": "add"}, r"a\.wav, b\.wav lasts 2\.4 s"),
    ],
)
def test_recordings_of_another_length_are_refused(changes: dict[str, Any], told: str, film: Path) -> None:
    with pytest.raises(MediaError, match=told):
        read(film, **changes).voices(mono_16k)
