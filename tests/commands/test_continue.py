"""``enliven generate --continue``: from which video, with which model."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from enliven import systems
from enliven.cli import run
from enliven.commands.request import RunFile, model_for
from enliven.media.mux import join_segments
from enliven.media.provenance import made_with
from enliven.media.video import encode_segment, read_video
from tiny import tiny_spec

TALK = ["generate", "--model", "tiny", "--portrait", "me.png", "--audio", "speech.wav"]


def test_a_video_is_gone_on_from(here: Path) -> None:
    assert run([*TALK, "--seconds", "0.6", "-o", "first.mp4"]) == 0
    assert (
        run(["generate", "--model", "tiny", "--continue", "first.mp4", "--audio", "speech.wav", "-o", "next.mp4"]) == 0
    )
    assert read_video(here / "next.mp4").frames.shape[0] == 25


def test_a_video_is_gone_on_from_with_the_model_that_made_it(here: Path) -> None:
    """Unless another is named."""
    talk = ["generate", "--portrait", "me.png", "--seconds", "0.4", "--steps", "1"]
    assert run([*talk, "--model", "tiny-soul", "-o", "first.mp4"]) == 0
    for named, used in (([], "tiny-soul"), (["--model", "tiny"], "tiny")):
        assert run([*talk, *named, "--continue", "first.mp4", "--run", used]) == 0
        assert json.loads((here / used / "run.json").read_text())["model"] == used


@pytest.mark.parametrize("name", ["unknown", "longcat", "refiner"])
def test_who_cannot_go_on_with_a_video_is_told_and_left_out(
    here: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A name that is none, a model whose weights are elsewhere, and one that refines."""
    monkeypatch.setitem(systems.MODELS, "refiner", replace(tiny_spec(), name="refiner", refines=True))
    monkeypatch.setenv("ENLIVEN_WEIGHTS", str(here / "models"))
    (here / "models" / "refiner").mkdir(parents=True)
    encode_segment([torch.zeros(4, 3, 32, 32, dtype=torch.uint8)], 25.0, here / "segment.mp4")
    for tags, told in ((made_with(name), 1), ({}, 0)):
        caplog.clear()
        join_segments([here / "segment.mp4"], here / "a.mp4", fps=25.0, tags=tags)
        assert model_for(RunFile(video=here / "a.mp4", seconds=1.0)) is None
        assert caplog.text.count(f"{name} made a.mp4") == told
