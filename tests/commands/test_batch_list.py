"""Lists in every form say the same."""

import json
from pathlib import Path

import pytest

from enliven.commands.batch_list import read_list
from enliven.errors import ConfigError

TOML = """
steps = 4
[[item]]
name = "anna"
prompt = "a woman, at 4"
portrait = "anna.png"
audio = ["a.wav", "silence"]
speakers = [[0, 0, 9, 9], [0, 9, 9, 18]]
guidance.text = 2.0
[[item]]
seconds = 3.5
steps = 8
"""
LINES = """{"name": "anna", "prompt": "a woman, at 4", "portrait": "anna.png", "audio": ["a.wav", "silence"], \
"speakers": [[0, 0, 9, 9], [0, 9, 9, 18]], "guidance": {"text": 2.0}, "steps": 4}

{"seconds": 3.5, "steps": 8}
"""
CSV = """\ufeffname,prompt,portrait,audio,speakers,guidance.text,steps,seconds
anna,"a woman, at 4",anna.png,a.wav; silence,"0,0,9,9;0,9,9,18",2.0,4,
,,,,,,8,3.5
"""


@pytest.mark.parametrize(("name", "text"), [("a.toml", TOML), ("a.jsonl", LINES), ("a.csv", CSV)])
def test_every_form_says_the_same(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    first, second = read_list(tmp_path / name)
    boxes = ["0,0,9,9", "0,9,9,18"] if name == "a.csv" else [[0, 0, 9, 9], [0, 9, 9, 18]]
    assert (first.name, second.name) == ("anna", "2")
    assert second.written() == {"seconds": 3.5, "steps": 8}
    assert first.written() == {
        "prompt": "a woman, at 4",
        "portrait": str(tmp_path / "anna.png"),
        "audio": [str(tmp_path / "a.wav"), "silence"],
        "speakers": boxes,
        "guidance": {"text": 2.0},
        "steps": 4,
    }


def test_a_prompt_in_a_table_stays_a_text_whatever_it_looks_like(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('prompt,seed\n4,7\n"two\nlines",8\ntrue,9\n')
    assert [item.written()["prompt"] for item in read_list(tmp_path / "a.csv")] == ["4", "two\nlines", "true"]


def test_a_folder_has_a_file_for_each_video_and_a_broken_one_hurts_itself_alone(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text('portrait = "b.png"\n')
    (tmp_path / "a.json").write_text(json.dumps({"cond_audio": {"person1": "a.wav"}}))
    (tmp_path / "c.toml").write_text("seconds =\n")
    (tmp_path / "notes.txt").write_text("not a video")
    items = read_list(tmp_path)
    assert [item.name for item in items] == ["a", "b", "c"]
    assert items[0].written() == {"input": str(tmp_path / "a.json")}
    assert items[1].written() == {"portrait": str(tmp_path / "b.png")}
    with pytest.raises(ConfigError, match=r"c\.toml is not TOML"):
        items[2].written()


def test_ten_items_are_numbered_so_that_they_sort(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"seconds": 1}\n' * 10)
    names = [item.name for item in read_list(tmp_path / "a.jsonl")]
    assert names == sorted(names)
    assert names[0] == "01"


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.txt", "x", "is no list of videos"),
        ("a.jsonl", "\n", "holds 0 videos"),
        ("a.jsonl", '{"seed": 1}\n{"seed": \n', "line 2 is no JSON"),
        ("a.jsonl", "[1]\n", "line 1 is no object"),
        ("a.csv", "prompt,seed\na man, a hat,3\n", "line 2 has more cells"),
        ("a.csv", 'prompt\n"a\n', "unexpected end of data"),
        ("a.toml", "item = 3\n", "no table"),
        ("a.jsonl", '{"name": "x"}\n{"name": "x"}\n', "2 items are called 'x'"),
        ("a.jsonl", '{"name": "../x"}\n', "no name of a file"),
        ("a.jsonl", '{"name": 3}\n', "no name of a file"),
    ],
)
def test_what_is_no_list_is_refused(name: str, text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=told) as caught:
        read_list(tmp_path / name)
    assert caught.value.hint


def test_a_list_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        read_list(tmp_path / "missing.jsonl")
