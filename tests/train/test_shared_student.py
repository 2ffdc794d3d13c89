"""Several processes teach one student what one process teaches it."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, distributed  # noqa: TID251

from enliven.data.encoded import EncodedClip, save_encoded
from enliven.diffusion.guidance import Guidance
from enliven.diffusion.solvers import Renoise
from enliven.errors import Cancelled
from enliven.models.networks import load_networks, save_networks
from enliven.systems import MODELS
from enliven.train import checkpoint, student
from enliven.train.distillation import STUDENT
from enliven.train.student import (
    Clips,
    StudentRecipe,
    _batches,
    _imitating,
    _Lessons,
    _matching,
    _opened,
    distill,
)
from enliven.train.trainer import Trainer
from several_processes import run_together
from tiny import tiny_networks, tiny_spec

KINDS = [(lesson, rank) for lesson in ("imitation", "matching") for rank in (0, 2)]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A teacher, and clips of noise."""
    save_networks(tiny_networks(), tmp_path / "tiny", torch.float32)
    (tmp_path / "encoded").mkdir()
    for number in range(3):
        torch.manual_seed(number)
        clip = EncodedClip(
            torch.randn(4, 8, 4, 4),
            torch.randn(8, 4, 4, 4),
            torch.arange(0, 32, 4),
            torch.randn(1, 32, 2, 16),
            torch.zeros(1, 29, 5),
            "a man with a hat",
            silent=False,
        )
        save_encoded(clip, tmp_path / "encoded" / f"{number}.safetensors")
    before = dict(MODELS)
    name_models()
    yield tmp_path
    MODELS.clear()
    MODELS.update(before)


def name_models() -> None:
    MODELS["tiny"] = tiny_spec(guidance=Guidance(3.0, 2.0))
    MODELS["tiny-student"] = tiny_spec(
        name="tiny-student", teacher="tiny", guidance=Guidance(), solver=Renoise(), steps=4
    )


def recipe_in(folder: Path, **changes: object) -> StudentRecipe:
    recipe = StudentRecipe(
        model="tiny-student",
        teacher=folder / "tiny",
        clips=(Clips(folder / "encoded"),),
        folder=folder / "run",
        weights=folder / "student",
        batch=1,
        parts=2,
        ratio=1,
        student_rate=0.1,
        critic_rate=0.1,
        imitation_rate=0.1,
    )
    return replace(recipe, **changes)


def taught(folder: Path, name: str, stop: int = 0) -> dict[str, dict[str, Tensor]]:
    """Six steps of every lesson, of whole students and of LoRAs; stopped after ``stop`` of them, if any."""
    learnt = {}
    for lesson, rank in KINDS:
        torch.manual_seed(0)
        recipe = recipe_in(folder, rank=rank)
        spec, teacher = _opened(recipe)
        config = (_imitating if lesson == "imitation" else _matching)(recipe)
        config = replace(config, folder=folder / f"{name} {lesson} {rank}", steps=6, minutes=1e9, dtype="float32")
        objective = getattr(_Lessons(recipe, spec, teacher), lesson)(None)
        trainer = Trainer(config, objective, _batches(recipe, spec, teacher))
        if stop:
            interrupt(trainer, stop)
            with pytest.raises(Cancelled, match=f"stopped at step {stop},"):
                trainer.fit()
            continue
        trainer.fit()
        learnt[f"{lesson} {rank}"] = trainer.averaged(STUDENT)
    return learnt


def interrupt(trainer: Trainer, stop: int) -> None:
    """One of the processes hears in its step ``stop`` that it shall stop."""
    taken = trainer.take_step

    def interrupted() -> dict[str, float]:
        if trainer.step == stop - 1 and distributed.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return taken()

    trainer.take_step = interrupted  # type: ignore[method-assign, assignment]


def begin_together(folder: Path) -> None:
    name_models()
    distributed.init_process_group("gloo")
    taught(folder, "together", stop=3)


def go_on_together(folder: Path) -> None:
    name_models()
    distributed.init_process_group("gloo")
    learnt = taught(folder, "together")
    if distributed.get_rank() == 0:
        torch.save(learnt, folder / "learnt.pt")


@pytest.mark.slow
def test_two_processes_that_are_stopped_and_started_again_teach_what_one_does(folder: Path) -> None:
    run_together(2, begin_together, folder)
    run_together(2, go_on_together, folder)
    together, alone = torch.load(folder / "learnt.pt"), taught(folder, "alone")
    teacher = load_networks(folder / "tiny").backbone.state_dict()
    for kind, weights in alone.items():
        for name, value in weights.items():
            torch.testing.assert_close(together[kind][name], value, atol=1e-4, rtol=0, msg=f"{kind} {name}")
        moved = [(value - teacher[name]).abs().max() for name, value in weights.items() if name in teacher]
        grown = [value.abs().max() for name, value in weights.items() if name not in teacher]
        assert max(moved + grown) > 1e-3, kind


def distill_together(folder: Path) -> None:
    name_models()
    write = student._write

    def written(*given: Any) -> None:
        with (folder / "written").open("a") as told:
            told.write(f"by {os.environ['RANK']}\n")
        write(*given)

    student._write = written
    assert distill(recipe_in(folder, imitating=0.01, minutes=0.02)) == folder / "student"


@pytest.mark.slow
def test_a_student_of_two_processes_is_written_once(folder: Path) -> None:
    run_together(2, distill_together, folder)
    assert (folder / "written").read_text() == "by 0\n"
    assert all(checkpoint.counters(folder / name / "checkpoint")["step"] for name in ("run/imitation", "run"))
    assert sorted(path.name for path in (folder / "student").iterdir()) == ["backbone", "model.json"]
    before = load_networks(folder / "tiny").backbone.state_dict()
    after = load_networks(folder / "student").backbone.state_dict()
    assert any((after[name] - value).abs().max() > 1e-3 for name, value in before.items())
