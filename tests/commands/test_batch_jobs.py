"""What is still to be made of a list, and how it is told."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from enliven import systems
from enliven.commands import batch_jobs
from enliven.commands.batch_jobs import (
    Job,
    Loader,
    Outcome,
    State,
    Whole,
    about_seconds,
    known,
    make,
    make_all,
    prepare,
)
from enliven.commands.batch_list import Item
from enliven.commands.progress import PlainLines
from enliven.errors import RequestError, WeightsError
from enliven.media.voices import Turns
from enliven.pipeline import AvatarPipeline
from enliven.request import GenerateRequest
from enliven.run import read_record
from enliven.runtime.choices import Choices
from enliven.types import Progress, ignore_progress
from tiny import write_portrait, write_speech

SHORT = {"model": "tiny", "seconds": 0.3, "steps": 1}


def one_job(here: Path, **changes: object) -> Job:
    (job,) = prepare([Item("a", here / "l.toml", SHORT | changes)], here / "out", ({}, ()), {}, ignore_progress)
    return job


def test_a_job_knows_how_far_it_has_come(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, load = one_job(here, portrait="me.png"), Loader(ignore_progress)
    assert known(job).state is State.NEW
    made = AvatarPipeline.clips
    with monkeypatch.context() as change:

        def stop(*given: object, **options: object):  # type: ignore[no-untyped-def]
            yield next(made(*given, **options))
            raise KeyboardInterrupt

        change.setattr(AvatarPipeline, "clips", stop)
        with pytest.raises(KeyboardInterrupt):
            make(job, load, ignore_progress)
    assert known(job).state is State.BEGUN
    assert make(job, load, ignore_progress).state is State.MADE
    assert known(job).state is State.THERE
    assert make(job, load, ignore_progress) == known(job)
    job.video.unlink()
    assert known(job).state is State.BEGUN


def test_a_run_that_was_begun_with_anything_else_is_not_taken_for_this_one(here: Path) -> None:
    job = one_job(here, portrait="me.png")
    make(job, Loader(ignore_progress), ignore_progress)
    with pytest.raises(RequestError, match="another request"):
        known(replace(job, request=replace(job.request, seed=9)))
    with pytest.raises(RequestError, match="another model"):
        known(replace(job, model="tiny-soul"))
    with pytest.raises(RequestError, match="another model"):
        known(replace(job, choices=replace(job.choices, dtype="bfloat16")))
    with pytest.raises(RequestError, match="another place of the video"):
        known(replace(job, video=here / "b.mp4"))
    write_portrait(here / "me.png", (48, 40))
    with pytest.raises(RequestError, match=r"me\.png has changed"):
        known(job)


def test_what_the_model_chose_where_nothing_was_asked_is_nothing_else(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run keeps the kernel of attention that a model took by itself."""
    monkeypatch.setitem(systems.MODELS, "tiny", replace(systems.MODELS["tiny"], attention="block-sparse"))
    job = one_job(here, portrait="me.png")
    make(job, Loader(ignore_progress), ignore_progress)
    assert read_record(job.folder).choices.attention == "sdpa"
    assert known(job).state is State.THERE
    with pytest.raises(RequestError, match="another model"):
        known(replace(job, choices=replace(job.choices, attention="matmul")))


def test_jobs_of_one_model_stand_together_and_it_is_loaded_once(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["tiny", "tiny-soul", "tiny", "tiny-soul"]
    items = [Item(str(n), here / "l.toml", SHORT | {"model": name}) for n, name in enumerate(names)]
    jobs = prepare(items, here / "out", ({}, ()), {}, ignore_progress)
    assert [job.name for job in jobs] == ["0", "2", "1", "3"]
    loaded, real = [], batch_jobs.load

    def counted(model: str, *given: object) -> AvatarPipeline:
        loaded.append(model)
        return real(model, *given)

    monkeypatch.setattr(batch_jobs, "load", counted)
    load = Loader(ignore_progress)
    for job in jobs:
        load(job.model, job.choices)
    assert loaded == ["tiny", "tiny-soul"]


def test_a_stop_ends_the_batch_also_where_its_item_has_changed_meanwhile(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    def changed(_: Job) -> None:
        raise RequestError("me.png has changed")

    monkeypatch.setattr(batch_jobs, "make", stop)
    monkeypatch.setattr(batch_jobs, "known", changed)
    outcomes: dict[str, Outcome] = {}
    job = Job("a", GenerateRequest(seconds=1.0), "tiny", Choices(), here, here / "a.mp4", 1.0)
    with pytest.raises(KeyboardInterrupt):
        make_all([job], outcomes, PlainLines(Console(quiet=True)))
    assert outcomes["a"].said == "me.png has changed"


def test_what_cannot_be_loaded_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def refuse(model: str, *_: object, **__: object) -> None:
        tried.append(model)
        raise WeightsError("torn")

    monkeypatch.setattr(batch_jobs, "load", refuse)
    load = Loader(ignore_progress)
    for _ in range(3):
        with pytest.raises(WeightsError, match="torn"):
            load("tiny", Choices())
    assert tried == ["tiny"]


def test_all_jobs_together_come_on_by_seconds_of_video(here: Path) -> None:
    jobs = [one_job(here), replace(one_job(here), seconds=6.0), replace(one_job(here), seconds=4.0)]
    told: list[Progress] = []
    whole = Whole(jobs[1:], told.append)
    tell = whole.part(jobs[1])
    tell(Progress("reading the inputs", 1, 1))
    tell(Progress("making the video", 1, 2))
    whole.add(jobs[1])
    whole.part(jobs[2])(Progress("making the video", 2, 4))
    assert [(each.done, each.total) for each in told] == [(3, 10), (6, 10), (8, 10)]


def test_a_run_tells_of_its_steps_by_the_name_that_is_listened_for(here: Path) -> None:
    told: list[Progress] = []
    make(one_job(here), Loader(ignore_progress), told.append)
    assert batch_jobs.MAKING in {each.stage for each in told}


def test_a_video_is_about_as_long_as_its_sound(tmp_path: Path) -> None:
    short, long = write_speech(tmp_path / "a.wav", 0.5), write_speech(tmp_path / "b.wav", 2.0)
    picture = write_portrait(tmp_path / "me.png")
    two = GenerateRequest(audio=(short, None, long), portrait=picture)
    assert about_seconds(GenerateRequest(seconds=7.0)) == 7.0
    assert about_seconds(GenerateRequest(draft=long)) == pytest.approx(2.0, abs=0.01)
    assert about_seconds(two) == pytest.approx(2.0, abs=0.01)
    assert about_seconds(replace(two, turns=Turns.IN_TURN)) == pytest.approx(2.5, abs=0.01)


def test_a_bug_in_one_item_is_an_outcome_with_its_traceback_in_the_log(
    here: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes: dict[str, Outcome] = {}
    monkeypatch.setattr(batch_jobs, "check", lambda *_: 1 // 0)
    items = [Item("a", here / "l.toml", SHORT)]
    assert prepare(items, here / "out", ({}, ()), outcomes, ignore_progress) == []
    assert outcomes["a"].state is State.FAILED
    assert "ZeroDivisionError" in outcomes["a"].said
    assert "Traceback" in caplog.text
