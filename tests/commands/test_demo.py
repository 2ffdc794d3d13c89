"""The first video a newcomer makes."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from enliven.cli import run
from enliven.media.video import read_video


def test_a_demo_needs_nothing_and_says_what_it_made(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for attempt in ("run", "run-2"):
        assert run(["demo", "--model", "tiny", "--speech", "question", "-o", "first"]) == 0
        assert (here / "first" / attempt / "run.json").exists()
    video = read_video(here / "first" / "question.mp4", sound=True)
    shown = capsys.readouterr().out
    assert video.audio is not None
    assert video.audio.samples.abs().max() > 0.05
    with Image.open(here / "first" / "question.png") as sheet:
        assert sheet.width > 500
    assert all(name in shown for name in ("first/portrait.png", "question.mp4", "question.png", "enliven generate"))


def test_a_demo_runs_in_any_memory_and_numbers(here: Path) -> None:
    flags = ["--memory", "low", "--quantise", "int8", "--dtype", "bfloat16", "--attention", "matmul"]
    assert run(["demo", "--weights", os.environ["ENLIVEN_WEIGHTS"] + "/tiny", "--speech", "question", *flags]) == 0
    record = json.loads((here / "demo" / "run" / "run.json").read_text())
    assert record["model"] == "tiny"
    chosen = {name: record["choices"][name] for name in ("memory", "quantise", "dtype", "attention")}
    assert chosen == {"memory": "low", "quantise": "int8", "dtype": "bfloat16", "attention": "matmul"}


def test_a_demo_that_is_to_be_shared_needs_others(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--model", "tiny", "--parallel", "context=2"]) == 2
    assert "--parallel context=2,guidance=1 is for 2 processes, but 1 started" in capsys.readouterr().err


def test_a_sentence_that_is_not_shipped_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--speech", "goodbye"]) == 2
    assert "hello" in capsys.readouterr().err
    assert not (here / "demo").exists()
