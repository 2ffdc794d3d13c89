"""``enliven batch`` from a list to files."""

import json
from pathlib import Path

import pytest

from enliven.cli import run
from enliven.commands import batch_jobs
from enliven.media.video import read_video
from enliven.pipeline import AvatarPipeline
from tiny import write_portrait, write_speech

LIST = """
model = "tiny"
portrait = "me.png"
steps = 1
[[item]]
name = "anna"
audio = ["speech.wav"]
[[item]]
name = "lost"
audio = ["missing.wav"]
[[item]]
name = "bob"
seconds = 0.4
"""


@pytest.fixture
def listed(here: Path) -> Path:
    (here / "lists").mkdir()
    write_portrait(here / "lists" / "me.png")
    write_speech(here / "lists" / "speech.wav", 1.0)
    (here / "lists" / "list.toml").write_text(LIST)
    return here


def test_what_fails_is_told_and_stops_nothing_else(listed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["batch", "lists/list.toml", "-o", "out"]) == 1
    shown = capsys.readouterr()
    assert read_video(listed / "out" / "anna.mp4").frames.shape == (25, 3, 32, 32)
    assert read_video(listed / "out" / "bob.mp4").frames.shape == (10, 3, 32, 32)
    assert (listed / "out" / "anna" / "run.json").exists()
    assert not (listed / "out" / "lost").exists()
    assert "1 of 3 videos were not made" in shown.err
    assert "2 made, 1 failed" in shown.out
    assert "missing.wav does not exist" in shown.out
    assert shown.err.count("loading tiny: 0/") == 1
    kept = {each["name"]: each for each in json.loads((listed / "out" / "batch.json").read_text())}
    assert [each["state"] for each in kept.values()] == ["made", "failed", "made"]
    assert (kept["anna"]["length"], kept["bob"]["length"]) == (1.0, 0.4)


def test_a_second_call_makes_what_is_missing_alone(listed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["batch", "lists/list.toml", "-o", "out"]) == 1
    first = (listed / "out" / "anna.mp4").stat().st_mtime_ns
    write_speech(listed / "lists" / "missing.wav", 0.3)
    capsys.readouterr()
    assert run(["batch", "lists/list.toml", "-o", "out"]) == 0
    assert "2 there already, 1 made" in capsys.readouterr().out
    assert (listed / "out" / "anna.mp4").stat().st_mtime_ns == first
    assert (listed / "out" / "lost.mp4").exists()


def test_a_stopped_batch_goes_on_in_the_middle_of_a_video(
    listed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["batch", "lists/list.toml", "-o", "whole"]) == 1
    made = AvatarPipeline.clips
    capsys.readouterr()
    with monkeypatch.context() as change:

        def stop(*given: object, **options: object):  # type: ignore[no-untyped-def]
            yield next(made(*given, **options))
            raise KeyboardInterrupt

        change.setattr(AvatarPipeline, "clips", stop)
        assert run(["batch", "lists/list.toml", "-o", "parts"]) == 130
    shown = capsys.readouterr()
    assert "0 of 3 videos made" in shown.err
    assert "1 half made, 1 failed, 1 new" in shown.out
    assert run(["batch", "lists/list.toml", "-o", "parts"]) == 1
    assert (listed / "parts" / "anna.mp4").read_bytes() == (listed / "whole" / "anna.mp4").read_bytes()


def test_flags_hold_for_all_and_a_dry_run_makes_nothing(
    listed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(listed.rglob("*"))
    monkeypatch.setattr(batch_jobs, "load", lambda *_, **__: pytest.fail("the model was loaded"))
    flags = ["--audio", "speech.wav", "--base_seed", "5", "--set", "guidance.audio=1.5"]
    assert run(["batch", "lists/list.toml", *flags, "--dry-run"]) == 0
    assert "3 new" in capsys.readouterr().out
    assert set(listed.rglob("*")) == before


def test_a_folder_of_input_files_is_a_list(listed: Path) -> None:
    said = {"prompt": "a man", "cond_image": "me.png", "cond_audio": {"person1": "speech.wav"}}
    (listed / "lists" / "talk.json").write_text(json.dumps(said))
    (listed / "lists" / "list.toml").unlink()
    flags = ["--model", "tiny", "--num_inference_steps", "1", "--seconds", "0.3", "--base_seed", "5"]
    assert run(["batch", "lists", *flags]) == 0
    record = json.loads((listed / "runs" / "lists" / "talk" / "run.json").read_text())
    assert (record["request"]["prompt"], record["request"]["steps"], record["request"]["seed"]) == ("a man", 1, 5)
    assert record["output"] == str(listed / "runs" / "lists" / "talk.mp4")


def test_a_list_that_is_none_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["batch", "missing.csv"]) == 2
    assert "missing.csv" in capsys.readouterr().err
