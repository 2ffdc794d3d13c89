"""Input files of LongCat-Video-Avatar and InfiniteTalk, good ones and bad ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from enliven.errors import MediaError, RequestError
from enliven.media.regions import Box
from enliven.media.speakers_file import read_speakers_file
from enliven.media.voices import Turns


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("two.png", "clip.mp4", "a.wav", "b.mp3", "deep/c.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


TWO: dict[str, Any] = {
    "prompt": "Two people talk.",
    "cond_image": "two.png",
    "cond_audio": {"person1": "a.wav", "person2": "deep/c.wav"},
    "audio_type": "add",
    "bbox": {"person1": [10, 20, 30, 40], "person2": [1, 50, 30, 90], "others": [0, 0, 5, 5, 6, 0, 9, 9]},
}


def write(folder: Path, values: Any) -> Path:
    path = folder / "in.json"
    path.write_text(values if isinstance(values, str) else json.dumps(values), encoding="utf-8")
    return path


def test_two_people(folder: Path) -> None:
    file = read_speakers_file(write(folder, TWO))
    assert file.prompt == "Two people talk."
    assert file.portrait == folder / "two.png"
    assert file.video is None
    assert file.voices == (folder / "a.wav", folder / "deep/c.wav")
    assert file.turns is Turns.IN_TURN
    assert file.boxes == (Box(top=10, left=20, bottom=30, right=40), Box(top=1, left=50, bottom=30, right=90))
    assert file.others == (Box(0, 0, 5, 5), Box(6, 0, 9, 9))


def test_one_person(folder: Path) -> None:
    file = read_speakers_file(write(folder, {"prompt": "x", "cond_audio": {"person1": "a.wav"}}))
    assert (file.portrait, file.video, file.boxes, file.others) == (None, None, (), ())
    assert file.voices == (folder / "a.wav",)


@pytest.mark.parametrize(("name", "portrait"), [("two.png", True), ("clip.mp4", False)])
def test_infinitetalk_starts_from_a_picture_or_a_video(folder: Path, name: str, portrait: bool) -> None:
    file = read_speakers_file(write(folder, {"cond_video": name, "cond_audio": {"person1": "a.wav"}}))
    assert (file.portrait, file.video) == ((folder / name, None) if portrait else (None, folder / name))


def test_beside_a_video_it_needs_no_picture(folder: Path) -> None:
    file = read_speakers_file(write(folder, without("cond_image")), folder / "clip.mp4")
    assert (file.portrait, file.video) == (None, folder / "clip.mp4")
    assert len(file.boxes) == 2
    elsewhere = write(folder, TWO | {"cond_image": "not/here.png"})
    assert read_speakers_file(elsewhere, folder / "clip.mp4").video == folder / "clip.mp4"


def test_somebody_without_a_voice_listens(folder: Path) -> None:
    file = read_speakers_file(write(folder, TWO | {"cond_audio": {"person2": "b.mp3"}, "audio_type": "para"}))
    assert file.voices == (None, folder / "b.mp3")


def test_files_are_found_from_its_folder_then_as_given_then_beside_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = folder / "deep"
    monkeypatch.chdir(folder)
    values = {"cond_image": "two.png", "cond_audio": {"person1": "c.wav", "person2": "assets/multi/c.wav"}}
    file = read_speakers_file(write(inner, values))
    assert file.portrait == folder / "two.png"
    assert file.voices == (inner / "c.wav", inner / "c.wav")
    (inner / "two.png").write_bytes(b"y")
    assert read_speakers_file(inner / "in.json").portrait == inner / "two.png"


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in TWO.items() if name != key}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ('{"prompt": ', "in.json: it is no JSON: Expecting value in line 1, column 12"),
        ("[1]", "it holds a list; an object was expected"),
        ('{"prompt": "a", "prompt": "b"}', "'prompt' stands in it twice"),
        (TWO | {"prompt": 3}, "prompt is a number"),
        (without("cond_audio"), "cond_audio names no recording"),
        (TWO | {"cond_audio": {}}, "cond_audio names no recording"),
        (TWO | {"cond_audio": "a.wav"}, "cond_audio is a text; an object was expected"),
        (TWO | {"cond_audio": {"man": "a.wav"}}, "cond_audio names 'man'; person1, person2"),
        (TWO | {"cond_audio": {"person0": "a.wav"}}, "cond_audio names 'person0'"),
        (TWO | {"cond_audio": {"person1": ["a.wav"]}}, "cond_audio.person1 is a list"),
        (TWO | {"cond_audio": {"person99": "a.wav"}}, "speaks of person99; 16 people"),
        (TWO | {"cond_audio": {"person1": "https://example.org/a.wav"}}, "lies on a network"),
        (TWO | {"cond_image": "//server/two.png"}, "lies on a network"),
        (TWO | {"cond_image": "two\0.png"}, "cond_image is a text"),
        (without("cond_image"), "2 people and no cond_image"),
        (TWO | {"audio_type": "both"}, "audio_type is 'both'; para or add was expected"),
        (TWO | {"audio_type": ["add"]}, r"audio_type is \['add'\]"),
        (TWO | {"bbox": {"person1": [1, 2, 3, 4]}}, "bbox has no person2"),
        (TWO | {"bbox": {"left": [1, 2, 3, 4]}}, "bbox names 'left'"),
        (TWO | {"bbox": {"person1": [1, 2, 3], "person2": [1, 2, 3, 4]}}, r"bbox.person1 is \[1, 2, 3\]"),
        (TWO | {"bbox": {"person1": [1, 2, 3, 4.5], "person2": [1, 2, 3, 4]}}, "four whole numbers"),
        (TWO | {"bbox": {"person1": [1, 2, 3, True], "person2": [1, 2, 3, 4]}}, "four whole numbers"),
        (TWO | {"bbox": TWO["bbox"] | {"others": [1, 2, 3]}}, "bbox.others is"),
        ('{"bbox": {"person1": [1, 2, 3, NaN]}}', "NaN is no number"),
        ("[" * 100_000, "it is nested too deeply"),
        (TWO | {"tts_audio": {"text": "hello"}}, "speech made from text"),
    ],
)
def test_what_is_wrong_is_named(folder: Path, values: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        read_speakers_file(write(folder, values))
    assert caught.value.hint


def test_files_that_are_not_there_are_named(folder: Path) -> None:
    with pytest.raises(MediaError, match=r"gone\.wav does not exist"):
        read_speakers_file(write(folder, TWO | {"cond_audio": {"person1": "gone.wav"}}))
    with pytest.raises(MediaError, match=r"none\.json does not exist"):
        read_speakers_file(folder / "none.json")


def test_other_encodings_are_refused(folder: Path) -> None:
    path = folder / "in.json"
    path.write_bytes(b'{"prompt": "\xff"}')
    with pytest.raises(RequestError, match="not text in UTF-8"):
        read_speakers_file(path)
