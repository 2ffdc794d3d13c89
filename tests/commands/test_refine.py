"""The base from the command line: a video without speech, and the same refined."""

import json
import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from enliven import systems
from enliven.cli import run
from enliven.diffusion.clips import ClipGeometry
from enliven.media.audio import has_sound, read_audio
from enliven.media.mux import write_video
from enliven.media.video import read_video, video_length
from enliven.types import Video
from published_folders import miniature, write_base
from tiny import write_portrait, write_speech

MAKE = ["generate", "--weights", "LongCat-Video", "--prompt", "a man talks"]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("published") / "LongCat-Video", miniature())


@pytest.fixture
def here(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a published base. Clips are short and pictures small."""
    for name, frames, context in (("longcat-video", 17, 5), ("longcat-video-720p", 29, 13)):
        spec = systems.MODELS[name]
        geometry = ClipGeometry(frames, context, spec.geometry.fps)
        steps = 50 if spec.refines else 2
        small = {"geometry": geometry, "size": (64, 64), "choose_size": None, "steps": steps}
        monkeypatch.setitem(systems.MODELS, name, replace(spec, **small))
    (tmp_path / "LongCat-Video").symlink_to(published)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_prompt_becomes_a_silent_video_which_is_refined(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*MAKE, "--seconds", "1.2", "-o", "draft.mp4"]) == 0
    assert "18 frames of 64x64, 15 a second, 2 clips" in capsys.readouterr().out
    assert not has_sound(here / "draft.mp4")
    asked = ["refine", "draft.mp4", "--weights", "LongCat-Video", "--prompt", "a man talks"]
    assert run([*asked, "--dry-run"]) == 0
    assert "36 frames of 64x64, 30 a second" in capsys.readouterr().out
    assert run([*asked, "-o", "fine.mp4"]) == 0
    shown = capsys.readouterr().out
    assert "36 frames of 64x64, 30 a second, 2 clips" in shown
    assert video_length(here / "fine.mp4") == (36, 30.0)
    record = json.loads((here / "runs" / "fine" / "run.json").read_text())
    assert list(record["inputs"]) == [str(here / "draft.mp4")]
    first = (here / "fine.mp4").read_bytes()
    again = next(line.removeprefix("again").strip() for line in shown.splitlines() if line.startswith("again"))
    assert "--refine" in again
    assert "--attention sdpa" in again, "so that it goes on in the same numbers where there is a GPU"
    (here / "fine.mp4").unlink()
    assert run(shlex.split(again)[1:]) == 0
    assert (here / "fine.mp4").read_bytes() == first


def test_a_stopped_refinement_goes_on_and_keeps_the_sound(
    here: Path, stopped_early: Callable[[], AbstractContextManager[None]]
) -> None:
    assert run([*MAKE, "--seconds", "1.2", "-o", "silent.mp4"]) == 0
    film = replace(read_video(here / "silent.mp4"), audio=read_audio(write_speech(here / "speech.wav", 1.2)))
    write_video(film, here / "film.mp4")
    asked = ["refine", "film.mp4", "--weights", "LongCat-Video"]
    assert run([*asked, "-o", "whole.mp4"]) == 0
    assert read_audio(here / "whole.mp4").seconds == pytest.approx(1.2, abs=0.05)
    with stopped_early():
        assert run([*asked, "-o", "parts.mp4"]) == 130
    assert run(["resume", "runs/parts"]) == 0
    assert (here / "parts.mp4").read_bytes() == (here / "whole.mp4").read_bytes()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ([*MAKE, "--audio", "speech.wav"], "hears nothing"),
        (MAKE, "neither audio nor seconds"),
        ([*MAKE, "--seconds", "1", "--portrait", "dot.png"], "each side needs at least 32"),
        ([*MAKE, "--seconds", "1", "--continue", "film.mp4"], "at least 5 are needed"),
        ([*MAKE, "--refine", "film.mp4"], "longcat-video refines no videos"),
        (["refine", "speech.wav", "--weights", "LongCat-Video"], "has no video"),
        (["refine", "nothing.mp4", "--weights", "LongCat-Video"], "nothing.mp4"),
        (["refine", "film.mp4", "--weights", "LongCat-Video", "--seconds", "2"], "nor a length can change"),
        (["refine", "film.mp4", "--weights", "LongCat-Video", "--size", "80x80"], "no multiple of 64"),
        (["encode", "film.mp4", "--weights", "LongCat-Video", "-o", "out"], "hears nothing"),
    ],
)
def test_what_cannot_be_made_is_one_sentence(
    asked: list[str], said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_speech(here / "speech.wav", 1.0)
    write_portrait(here / "dot.png", (16, 16))
    write_film(here / "film.mp4")
    assert run(asked) != 0
    told = " ".join(capsys.readouterr().err.split())
    assert said in told
    assert told.count("error:") == told.count("hint:") == 1


def write_film(path: Path) -> None:
    """Three frames."""
    write_video(Video(torch.zeros(3, 3, 32, 32, dtype=torch.uint8), 15.0), path)
