"""A student from a teacher's weights, by a recipe: fewer steps, no guidance (``enliven.train.distillation``).

    enliven distill examples/distill-longcat.toml

Checkpoints and measurements stay in the folder of the recipe, and training goes on where it was stopped. Delete that
folder to begin anew.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from enliven.diffusion.guidance import Guidance, Guide
from enliven.errors import RequestError, WeightsError
from enliven.models.layered import LORA, read_label, saved_parts, write_label
from enliven.models.networks import load_network, save_network
from enliven.models.text import TextEncoder
from enliven.systems import find_model
from enliven.systems.spec import ModelSpec
from enliven.train.backbones import BACKBONE, cuts, listening
from enliven.train.batches import ClipBatches, Drops
from enliven.train.distillation import CRITIC, STUDENT, DistillationObjective, Trajectory
from enliven.train.lora import WithLora, save_lora
from enliven.train.processes import first_alone
from enliven.train.trainer import TrainConfig, Trainer
from enliven.types import OnProgress, ignore_progress

NEEDED = (BACKBONE, "audio", "text")


@dataclass(frozen=True, slots=True)
class StudentRecipe:
    """What becomes a student, and how.

    ``model`` is the student's name, ``teacher`` the folder of its teacher's weights, ``clips`` one of encoded clips as
    ``enliven train`` leaves them. ``folder`` holds checkpoints. ``weights`` receives the student: a folder that lies
    over the teacher's. The teacher is guided as strongly as its model is, or by ``guidance`` for text and audio alike.
    The critic takes ``ratio`` steps for one of the student. With a ``rank``, both are LoRAs beside the one teacher,
    which takes a third of the memory. Where ``muon_gain`` is over 0, matrices are trained by Muon at that gain.
    """

    model: str
    teacher: Path
    clips: Path
    folder: Path
    weights: Path
    steps: int = 4
    guidance: float | None = None
    minutes: float = 60.0
    student_rate: float = 5e-5
    critic_rate: float = 2e-4
    ratio: int = 5
    rank: int = 0
    muon_gain: float = 0.0
    batch: int = 8
    device: str = "cpu"
    threads: int = 1


def distill(recipe: StudentRecipe, on_progress: OnProgress = ignore_progress) -> Path:
    """Train a student and write its weights; returns their folder.

    Raises RequestError for a model that is no student and where other weights would be lost, WeightsError, ConfigError.
    """
    spec = find_model(recipe.model)
    _check_target(recipe)
    parts = _teacher_parts(spec, recipe.teacher)
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(0)
    teacher = load_network(parts[BACKBONE]).requires_grad_(requires_grad=False)
    networks = {name: _learner(parts[BACKBONE], teacher, recipe.rank) for name in (STUDENT, CRITIC)}
    trajectory = Trajectory(spec.schedule(recipe.steps), spec.solver)
    objective = DistillationObjective(networks, teacher, _guide(recipe, spec), trajectory, recipe.ratio)
    trainer = Trainer(_config(recipe), objective, iter(_batches(recipe, spec, parts)))
    trainer.fit(on_progress)
    if recipe.rank:
        networks[STUDENT].load_state_dict(trainer.averaged(STUDENT))
        learnt = networks[STUDENT]
    else:
        learnt = trainer.averaged_network(STUDENT)
    first_alone(lambda: _write(recipe, learnt))
    return recipe.weights


def _teacher_parts(spec: ModelSpec, folder: Path) -> dict[str, Path]:
    if spec.teacher is None:
        raise RequestError(f"{spec.name} is no student of another model", hint="longcat-toon-4step is one")
    parts = saved_parts(folder)
    missing = [name for name in NEEDED if name not in parts]
    if missing:
        raise WeightsError(
            f"{folder} holds no {', '.join(missing)} of a teacher", hint=f"give a folder of weights of {spec.teacher}"
        )
    return parts


def _guide(recipe: StudentRecipe, spec: ModelSpec) -> Guide:
    if recipe.guidance is not None:
        return Guidance(recipe.guidance, recipe.guidance)
    return find_model(spec.teacher or "").guidance


def _write(recipe: StudentRecipe, student: nn.Module) -> None:
    """The student's folder. What an earlier recipe left there goes."""
    write_label(recipe.weights, recipe.model, recipe.teacher)
    for part in (LORA, BACKBONE):
        shutil.rmtree(recipe.weights / part, ignore_errors=True)
    if isinstance(student, WithLora):
        save_lora(student, recipe.weights / LORA / "student.safetensors")
    else:
        save_network(student, recipe.weights / BACKBONE)


def _check_target(recipe: StudentRecipe) -> None:
    """A student may only stand in a new folder, or in that of a student."""
    if (recipe.weights / BACKBONE).is_dir() and read_label(recipe.weights) is None:
        raise RequestError(
            f"{recipe.weights} holds a model that would be lost", hint="name another folder as weights of the student"
        )


def _learner(folder: Path, teacher: nn.Module, rank: int) -> nn.Module:
    """The teacher once more, to be changed, or a LoRA beside it."""
    return WithLora(teacher, rank) if rank else load_network(folder).requires_grad_(requires_grad=True)


def _batches(recipe: StudentRecipe, spec: ModelSpec, parts: dict[str, Path]) -> ClipBatches:
    """Conditions are told whole: what guidance leaves out, it leaves out by itself."""
    text: TextEncoder = load_network(parts["text"])
    heard = listening(spec, load_network(parts["audio"]))
    return ClipBatches(
        recipe.clips, text, cuts(spec), batch=recipe.batch, listening=heard, drops=Drops(audio=0, text=0, both=0)
    )


def _config(recipe: StudentRecipe) -> TrainConfig:
    return TrainConfig(
        folder=recipe.folder,
        minutes=recipe.minutes,
        learning_rates={STUDENT: recipe.student_rate, CRITIC: recipe.critic_rate},
        weight_decay=0.0,
        muon=r"blocks\..*weight" if recipe.muon_gain else "",
        muon_gain=recipe.muon_gain or 1.0,
        warmup=30,
        ema=0.97,
        device=recipe.device,
    )
