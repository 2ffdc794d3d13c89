"""Several processes make the video that one makes: the first writes it, and one of those that fail says so."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from enliven.cli import app, run
from enliven.commands import batch_jobs
from enliven.commands.batch_list import read_list
from enliven.errors import Cancelled
from enliven.media.mux import join_segments
from enliven.media.video import encode_segment, read_video
from enliven.models.networks import save_networks
from enliven.pipeline import AvatarPipeline
from enliven.run import RECORD
from enliven.runtime.launch import leads, process_rank
from enliven.types import ignore_progress
from several_processes import environment, run_together
from tiny import tiny_networks, write_portrait, write_speech

MODEL = ["--model", "longcat-toon", "--weights", "tiny", "--size", "32x32", "--steps", "2", "--audio-guidance", "3"]
TALK = ["generate", *MODEL, "--portrait", "me.png", "--audio", "speech.wav", "--seconds", "3"]
SHARED = ["--parallel", "context=2,guidance=2,sharded"]
WHOLE = AvatarPipeline.clips


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_networks(tiny_networks(), tmp_path / "tiny", torch.float32)
    write_portrait(tmp_path / "me.png")
    write_speech(tmp_path / "speech.wav", 3.0)
    return tmp_path


def keeping(kept: dict[str, Tensor], stopped: str = "") -> Any:
    """A pipeline whose clips are kept; what is on disk after the first clip is copied to the folder ``stopped``."""

    def clips(*given: Any, **options: Any) -> Any:
        for made in WHOLE(*given, **options):
            index = made.plan.index
            kept.update({f"latents {index}": made.clip.latents, f"frames {index}": made.frames})
            yield made
            if stopped and leads() and index == 0:
                shutil.copytree(Path("runs", "shared"), stopped)

    return clips


def in_each_process(folder: Path) -> None:
    os.chdir(folder)
    whole: dict[str, Tensor] = {}
    AvatarPipeline.clips = keeping(whole, "stopped")  # type: ignore[method-assign]
    assert run([*TALK, *SHARED, "-o", "shared.mp4"]) == 0
    if leads():
        Path("shared.mp4").rename("whole.mp4")
    resumed = dict(whole)
    AvatarPipeline.clips = keeping(resumed)  # type: ignore[method-assign]
    assert run(["resume", "stopped", *SHARED]) == 0
    for name, kept in (("whole", whole), ("shared", resumed)):
        save_file({key: value.contiguous() for key, value in kept.items()}, f"{name}-{process_rank()}.safetensors")


@pytest.mark.slow
def test_four_make_the_video_of_one_also_when_stopped(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames are compared before they are coded: H.264 makes much of a single pixel that was rounded otherwise."""
    run_together(4, in_each_process, here)
    expected: dict[str, Tensor] = {}
    monkeypatch.setattr(AvatarPipeline, "clips", keeping(expected))
    assert run([*TALK, "-o", "alone.mp4"]) == 0
    assert len(expected) == 4
    for name in ("whole", "shared"):
        for rank in range(4):
            assert_close_to(expected, load_file(here / f"{name}-{rank}.safetensors"))
        apart = read_video(here / f"{name}.mp4").frames.int() - coded(here, f"{name}-0.safetensors").int()
        assert apart.abs().float().mean() < 1, "other frames are dozens of levels apart"
    assert (here / "whole.mp4").read_bytes() == (here / "shared.mp4").read_bytes()
    assert [len(read_video(here / f"{name}.mp4").frames) for name in ("alone", "shared")] == [75, 75]
    assert sorted(folder.name for folder in (here / "runs").iterdir()) == ["alone", "shared"]
    records = [json.loads((here / "runs" / name / "run.json").read_text()) for name in ("alone", "shared")]
    assert records[0]["weights"] == records[1]["weights"]


def assert_close_to(expected: dict[str, Tensor], made: dict[str, Tensor]) -> None:
    """As far as sums in another order go: a level of a few pixels."""
    assert made.keys() == expected.keys()
    for name, value in made.items():
        apart = (value.double() - expected[name].double()).abs()
        assert apart.max() <= (1 if value.dtype == torch.uint8 else 1e-5), name
        assert apart.mean() < 1e-4, name


def coded(here: Path, kept: str) -> Tensor:
    """What is left of the frames a process kept when they have been coded."""
    frames = load_file(here / kept)
    segments = [here / f"segment{index}.mp4" for index in range(2)]
    for index, segment in enumerate(segments):
        encode_segment([frames[f"frames {index}"]], 25.0, segment)
    join_segments(segments, here / "coded.mp4", fps=25.0, sound=here / "speech.wav")
    return read_video(here / "coded.mp4").frames


LIST = """
model = "longcat-toon"
weights = "tiny"
portrait = "me.png"
width = 32
height = 32
steps = 2
guidance.audio = 3
[[item]]
name = "a"
seconds = 0.4
[[item]]
name = "lost"
audio = ["missing.wav"]
[[item]]
name = "b"
audio = ["speech.wav"]
"""
HALVES = ["--parallel", "context=2"]


def filming(film: list[Tensor], *, stopped: bool = False) -> Any:
    """A pipeline whose frames are kept, clip after clip; it may be stopped after the first."""

    def clips(*given: Any, **options: Any) -> Any:
        for made in WHOLE(*given, **options):
            film.append(made.frames)
            yield made
            if stopped:
                raise Cancelled("stopped")

    return clips


def batch_in_each_process(folder: Path) -> None:
    os.chdir(folder)
    film: list[Tensor] = []
    AvatarPipeline.clips = filming(film, stopped=True)  # type: ignore[method-assign]
    with pytest.raises(Cancelled):  # with all clips made and none joined, where one alone goes on with the next video
        app(["batch", "list.toml", "-o", "shared", *HALVES], exit_on_error=False)
    AvatarPipeline.clips = filming(film)  # type: ignore[method-assign]
    assert run(["batch", "list.toml", "-o", "shared", *HALVES]) == 1
    save_file({"film": torch.cat(film)}, folder / f"{process_rank()}.safetensors")
    AvatarPipeline.clips = WHOLE  # type: ignore[method-assign]
    assert run(["batch", "list.toml", "-o", "shared", *HALVES]) == 1, "nothing is left to be made"
    assert run(["demo", "--model", "longcat-toon", "--weights", "tiny", "--speech", "question", *HALVES]) == 0


@pytest.mark.slow
def test_two_make_a_batch_also_when_stopped_and_a_demo(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "list.toml").write_text(LIST)
    run_together(2, batch_in_each_process, here)
    film: list[Tensor] = []
    monkeypatch.setattr(AvatarPipeline, "clips", filming(film))
    assert run(["batch", "list.toml", "-o", "alone"]) == 1
    for rank in range(2):
        apart = (load_file(here / f"{rank}.safetensors")["film"].double() - torch.cat(film)).abs()
        assert apart.max() <= 1
        assert apart.mean() < 1e-4
    for name in ("a", "b"):
        shared, alone = (read_video(here / of / f"{name}.mp4").frames for of in ("shared", "alone"))
        assert shared.shape == alone.shape
    states = {each["name"]: each["state"] for each in json.loads((here / "shared" / "batch.json").read_text())}
    assert states == {"a": "there already", "lost": "failed", "b": "there already"}
    assert len(read_video(here / "demo" / "question.mp4").frames) > 25
    assert (here / "demo" / "question.png").exists()


LATE = 4.0  # seconds
SHORT = "\n".join(LIST.splitlines()[:8] + [f'[[item]]\nname = "{name}"\nseconds = 0.3' for name in "ab"])


def begun(folder: Path) -> None:
    """Wait until the first process has begun a run, as long as a late process is late."""
    until = time.monotonic() + LATE
    while not (folder / RECORD).exists() and time.monotonic() < until:
        time.sleep(0.02)


def batch_with_one_late(folder: Path) -> None:
    os.chdir(folder)
    make, load, loaded = batch_jobs.make, batch_jobs.load, []

    def late(job: batch_jobs.Job, *given: Any) -> Any:
        if job.name == "b" and not leads():
            begun(job.folder)
        return make(job, *given)

    def counted(model: str, *given: Any) -> AvatarPipeline:
        loaded.append(model)
        return load(model, *given)

    batch_jobs.make, batch_jobs.load = late, counted
    assert run(["batch", "list.toml", "-o", "shared", "--memory", "full", *HALVES]) == 0
    assert loaded == ["longcat-toon"]


@pytest.mark.slow
def test_who_comes_late_joins_the_video_that_was_begun(here: Path) -> None:
    """By what it finds itself, it would open the model anew, as the run says, which takes all processes."""
    (here / "list.toml").write_text(SHORT)
    run_together(2, batch_with_one_late, here)
    states = {each["name"]: each["state"] for each in json.loads((here / "shared" / "batch.json").read_text())}
    assert states == {"a": "made", "b": "made"}


def list_with_one_late(folder: Path) -> None:
    os.chdir(folder)
    listed, items = Path("shared/a") / RECORD, read_list(Path("list.toml"))
    if not leads():
        begun(listed.parent)
    outcomes: dict[str, batch_jobs.Outcome] = {}
    jobs = batch_jobs.prepare(items, Path("shared"), ({}, ()), outcomes, ignore_progress)
    if leads():  # somebody else begins a run that is none
        listed.parent.mkdir(parents=True)
        listed.touch()
    assert [(job.name, job.video) for job in jobs] == [(name, folder / "shared" / f"{name}.mp4") for name in "ab"]
    assert {outcome.state for outcome in outcomes.values()} == {batch_jobs.State.NEW}


def test_who_comes_late_has_the_list_of_the_first(here: Path) -> None:
    (here / "list.toml").write_text(SHORT)
    run_together(2, list_with_one_late, here)


def test_what_all_of_them_refuse_is_told_once(here: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "enliven"]
    options = [*TALK, "--parallel", "context=3"]
    ended = subprocess.run(
        [*command, *options], check=False, env=environment(), capture_output=True, text=True, timeout=200
    )
    assert ended.returncode
    assert ended.stderr.count("error: --parallel context=3,guidance=1 is for 3 processes, but 2 started") == 1
    assert ended.stderr.count("hint: ") == 1
    assert not ended.stdout
    assert not (here / "runs").exists()
