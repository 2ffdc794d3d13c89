"""A student from a teacher's weights, by a recipe: fewer steps, no guidance.

    enliven distill examples/distill-longcat.toml
    torchrun --nproc-per-node 2 -m enliven distill examples/distill-longcat.toml --set parts=2

It imitates its teacher first (``enliven.train.imitation``), then their distributions are matched
(``enliven.train.distillation``). Checkpoints and measurements stay in the folder of the recipe, and training goes on
where it was stopped. Delete that folder to begin anew.
"""

import gc
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from enliven.data.groups import SIZES
from enliven.data.order import Order, Process
from enliven.diffusion.guidance import Guidance, Guide
from enliven.errors import RequestError, WeightsError
from enliven.media.storage import storage_error
from enliven.models.layered import LORA, read_label, saved_parts, write_label
from enliven.models.networks import find_parts, save_backbone
from enliven.models.published import open_published
from enliven.models.releases import recognise, variants_in
from enliven.models.text import TextEncoder
from enliven.systems import MODELS, find_model
from enliven.systems.spec import ModelSpec
from enliven.train import checkpoint
from enliven.train.backbones import BACKBONE, cuts, listening
from enliven.train.batches import ClipBatches, Drops, MixedBatches
from enliven.train.beginning import Beginning, find_beginning, link_beside
from enliven.train.distillation import CRITIC, STUDENT, DistillationObjective, Trajectory
from enliven.train.imitation import ImitationObjective
from enliven.train.lora import WithLora, save_lora
from enliven.train.optimizers import BETAS
from enliven.train.processes import first_alone, joined, meet, rank_and_count
from enliven.train.sources import ShardMix, Source, Telling, captions_of, open_sources, read_sources
from enliven.train.texts import TextStore, encode_texts, encoder_name
from enliven.train.toon_clips import batch_of
from enliven.train.trainer import Batch, Objective, TrainConfig, Trainer
from enliven.types import OnProgress, ignore_progress

NEEDED = (BACKBONE, "audio", "text")

Learnt = dict[str, Tensor]
Lesson = Callable[[Learnt | None], Objective]


@dataclass(frozen=True, slots=True)
class Clips:
    """A folder of encoded clips of so many ``people``, and the share of the batches that show them."""

    folder: Path
    people: int = 1
    share: float = 1.0

    def __post_init__(self) -> None:
        if self.people not in SIZES:
            raise RequestError(f"clips of {self.people} people", hint=f"people is one of {', '.join(map(str, SIZES))}")


@dataclass(frozen=True, slots=True)
class StudentRecipe:
    """What becomes a student, and how.

    ``model`` is the student's name, ``teacher`` the folder of its teacher's weights, with ``base`` as for ``enliven
    generate``. It learns from ``clips`` as ``enliven train`` leaves them, all kept in memory, or from ``sources`` as
    ``enliven encode`` makes them. ``folder`` holds checkpoints. ``weights`` receives the student: a folder that lies
    over the teacher's or, of a published one, that links to it. The teacher is guided as strongly as its model is, or
    by ``guidance`` for text and audio alike.

    At first the student imitates it for ``imitating`` minutes, then their distributions are matched for ``minutes``;
    either may be 0. A critic takes ``ratio`` steps for one of the student then, and AdamW has ``betas``: the target
    moves, and gradients of before would lead elsewhere. The averaged weights keep ``ema`` of themselves in a step. The
    student begins as its teacher, or with a ``warm_start`` as the one that is in ``weights``.

    With a ``rank``, student and critic are LoRAs beside the one teacher, which takes a third of the memory. With a
    ``muon_gain`` matrices are trained by Muon, at that gain. A step learns from ``parts`` batches of ``batch`` clips,
    which processes share; all of them are of one of the student's own steps. ``recompute`` saves memory in the blocks
    of all networks and costs time.
    """

    model: str
    teacher: Path
    folder: Path
    weights: Path
    clips: tuple[Clips, ...] = ()
    sources: tuple[Source, ...] = ()
    base: Path | None = None
    steps: int = 4
    guidance: float | None = None
    imitating: float = 0.0
    minutes: float = 60.0
    imitation_rate: float = 1e-4
    student_rate: float = 5e-5
    critic_rate: float = 2e-4
    ratio: int = 5
    betas: tuple[float, float] = (0.0, 0.999)
    ema: float = 0.99
    rank: int = 0
    muon_gain: float = 0.0
    batch: int = 8
    parts: int = 1
    recompute: bool = False
    warm_start: bool = False
    save_minutes: float = 3.0
    device: str = "cpu"
    threads: int = 1

    def __post_init__(self) -> None:
        if not self.imitating and not self.minutes:
            raise RequestError("a student that learns for 0 minutes", hint="give imitating, minutes, or both")
        if not self.clips and not self.sources:
            raise RequestError(
                "a student that learns from no clips",
                hint='add a [[clips]] table with a folder, or a [[sources]] table with shards = "FOLDER"',
            )
        if self.clips and self.sources:
            raise RequestError("a student that learns from clips and from sources", hint="leave one of them out")
        if self.warm_start and self.rank:
            raise RequestError("a LoRA cannot begin with a student that is there", hint="leave out warm_start, or rank")


def distill(recipe: StudentRecipe, on_progress: OnProgress = ignore_progress) -> Path:
    """Train a student and write its weights; returns their folder.

    Raises RequestError for a model that is no student, and where other weights or what was learnt would be lost;
    WeightsError, ConfigError.
    """
    spec, teacher = _opened(recipe)
    _check_target(recipe)
    _check_order(recipe)
    earlier = _earlier(recipe, teacher) if recipe.warm_start else None
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(0)
    with joined(recipe.device):
        tell = ignore_progress if rank_and_count()[0] else on_progress
        batches = _shards(recipe, spec, teacher, tell) if recipe.sources else _batches(recipe, spec, teacher)
        lessons = _Lessons(recipe, spec, teacher)
        learnt = earlier
        left = _left(recipe, lessons)
        for config, lesson in left:
            learnt = _learn(config, lesson(learnt), batches, tell, last=lesson is left[-1][1])
            gc.collect()  # networks that are shared hold themselves
        first_alone(lambda: _write(recipe, spec, teacher, lessons.learner(learnt)))
    return recipe.weights


def _learn(
    config: TrainConfig, objective: Objective, batches: Iterable[Batch], on_progress: OnProgress, *, last: bool
) -> Learnt:
    """Take a lesson; what it needed is gone then, and what was learnt is in main memory.

    One that was taken before, and is not the ``last``, is only read: there is no more to be told of it.
    """
    trainer = Trainer(config, objective, batches)
    if last or not _finished(config):
        trainer.fit(on_progress)
    else:
        trainer.restore()
    return trainer.averaged(STUDENT)


def _left(recipe: StudentRecipe, lessons: "_Lessons") -> list[tuple[TrainConfig, Lesson]]:
    """The lessons of a recipe, but no imitation where matching has begun: that began with what was learnt."""
    imitation, matching = _imitating(recipe), _matching(recipe)
    left: list[tuple[TrainConfig, Lesson]] = []
    if imitation.minutes and not (matching.minutes and _begun(matching)):
        left.append((imitation, lessons.imitation))
    if matching.minutes:
        left.append((matching, lessons.matching))
    return left


@dataclass(frozen=True, slots=True)
class _Lessons:
    """What a student learns in turn, each beginning with what it has ``learnt`` before."""

    recipe: StudentRecipe
    spec: ModelSpec
    beginning: Beginning

    def imitation(self, learnt: Learnt | None) -> Objective:
        teacher = self.teacher()
        return ImitationObjective(self.learner(learnt, teacher), teacher, self.guide, self.trajectory)

    def matching(self, learnt: Learnt | None) -> Objective:
        teacher = self.teacher()
        networks = {STUDENT: self.learner(learnt, teacher), CRITIC: self.learner(None, teacher)}
        return DistillationObjective(networks, teacher, self.guide, self.trajectory, self.recipe.ratio)

    def teacher(self) -> nn.Module:
        """In the type it was published in, where that is computed in; what learns is float32."""
        dtype = None if _matching(self.recipe).halves else torch.float32
        network: nn.Module = self.beginning.parts[BACKBONE].load(dtype)
        return network.requires_grad_(requires_grad=False)

    def learner(self, learnt: Learnt | None, teacher: nn.Module | None = None) -> nn.Module:
        """The teacher once more, to be changed, or a LoRA beside it, with what was ``learnt`` before."""
        if self.recipe.rank:
            network: nn.Module = WithLora(teacher or self.teacher(), self.recipe.rank)
        else:
            network = self.beginning.backbone(torch.float32).requires_grad_(requires_grad=True)
        if learnt is not None:
            network.load_state_dict(learnt)
        return network

    @property
    def trajectory(self) -> Trajectory:
        return Trajectory(self.spec.schedule(self.recipe.steps), self.spec.solver)

    @property
    def guide(self) -> Guide:
        scale = self.recipe.guidance
        return self.beginning.spec.guidance if scale is None else Guidance(scale, scale)


def _opened(recipe: StudentRecipe) -> tuple[ModelSpec, Beginning]:
    """The student, with the sizes and the noise levels that its teacher's folder says, and the teacher."""
    spec, folder = find_model(recipe.model), recipe.teacher
    if spec.teacher is None:
        students = ", ".join(name for name, each in MODELS.items() if each.teacher)
        raise RequestError(f"{spec.name} is no student of another model", hint=f"students are {students}")
    if spec.distillation and not recipe.rank:
        raise RequestError(f"{spec.name} is a LoRA beside its teacher", hint="give it a rank, as rank = 128")
    published = recognise(folder)
    missing = [] if published else [name for name in NEEDED if name not in saved_parts(folder)]
    if missing:
        raise WeightsError(
            f"{folder} holds no {', '.join(missing)} of a teacher", hint=f"give a folder of weights of {spec.teacher}"
        )
    teacher = find_beginning(spec.teacher, folder, recipe.base)
    if published:
        spec = spec.shifted(open_published(folder, teacher.spec.variant, recipe.base).shift)
    return replace(spec, params=teacher.spec.params), teacher


def _write(recipe: StudentRecipe, spec: ModelSpec, teacher: Beginning, student: nn.Module) -> None:
    """The student's folder. An earlier student there goes once all is written: half a student would be its teacher."""
    folder = recipe.weights.resolve()
    fresh, before = checkpoint.fresh(folder), checkpoint.find(folder)
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        if before is not None:
            shutil.copytree(before, fresh, symlinks=True, ignore=shutil.ignore_patterns(LORA, BACKBONE))
        if teacher.release is None:
            write_label(fresh, recipe.model, recipe.teacher)
        else:
            fresh.mkdir(parents=True, exist_ok=True)
            link_beside(teacher, fresh, own=[LORA])
        if isinstance(student, WithLora):
            save_lora(student, fresh / LORA / f"{spec.distillation or STUDENT}.safetensors")
        else:
            save_backbone(student, fresh)
        checkpoint.put_in_place(folder)
    except OSError as error:
        raise storage_error(folder, error) from error


def _check_target(recipe: StudentRecipe) -> None:
    """A student may only stand in a new folder or its own: with a label, or a link to a published backbone alone."""
    folder, label, release = recipe.weights, read_label(recipe.weights), recognise(recipe.weights)
    published = [] if release is None else [folder / release.backbones[name] for name in variants_in(release, folder)]
    saved = (folder / BACKBONE).is_dir() and (label is None or label.model != recipe.model)
    if saved or any(not path.is_symlink() for path in published) or (folder / LORA).is_symlink():
        raise RequestError(
            f"{folder} holds a model that would be lost", hint="name another folder as weights of the student"
        )


def _earlier(recipe: StudentRecipe, teacher: Beginning) -> Learnt:
    """The student that is there; it must be of its teacher's sizes, and of the encoders beside it."""
    student: nn.Module = find_parts(recipe.weights)[BACKBONE].load(torch.float32)
    if student.params != teacher.spec.params.backbone:
        raise WeightsError(f"{recipe.weights} holds a student of other sizes", hint="begin without warm_start")
    return student.state_dict()


def _check_order(recipe: StudentRecipe) -> None:
    """Matching begins with what imitation has taught: what it would teach later is lost."""
    if recipe.imitating and _begun(_matching(recipe)) and not _finished(_imitating(recipe)):
        raise RequestError(
            f"matching has begun in {recipe.folder}, and imitation comes before it", hint="name another folder"
        )


def _begun(config: TrainConfig) -> bool:
    return bool(checkpoint.counters(config.folder / checkpoint.CHECKPOINT))


def _finished(config: TrainConfig) -> bool:
    return checkpoint.counters(config.folder / checkpoint.CHECKPOINT).get("seconds", 0) / 60 >= config.minutes


def _batches(recipe: StudentRecipe, spec: ModelSpec, teacher: Beginning) -> MixedBatches:
    text: TextEncoder = teacher.parts["text"].load()
    heard = listening(spec, teacher.parts["audio"].shapes())

    def batches(clips: Clips) -> ClipBatches:
        batch = batch_of(recipe.batch, clips.people)
        cut = cuts(spec, clips.people)
        return ClipBatches(clips.folder, text, cut, batch=batch, listening=heard, drops=_told(teacher))

    return MixedBatches([(clips.share, batches(clips)) for clips in recipe.clips])


def _shards(recipe: StudentRecipe, spec: ModelSpec, teacher: Beginning, on_progress: OnProgress) -> ShardMix:
    """Captions are encoded first, once; then the text encoder is let go."""
    found, told, process = read_sources(recipe.sources), _told(teacher), Process(*rank_and_count())
    text = teacher.parts["text"]
    folder = recipe.folder / "texts" / encoder_name(text)
    encode_texts(captions_of(found, told), lambda: text.load().to(recipe.device), folder, on_progress, process)
    meet()
    store, order = TextStore(folder, spec.params.text.length), Order(size=recipe.batch)
    return open_sources(found, spec, teacher.parts["audio"].shapes(), store, Telling(drops=told), order, process)


def _told(teacher: Beginning) -> Drops:
    """Conditions are told whole: guidance leaves out what it does by itself, for what leads the teacher away."""
    return Drops(audio=0, text=0, both=0, null=teacher.spec.negative_prompt)


def _imitating(recipe: StudentRecipe) -> TrainConfig:
    rates = {STUDENT: recipe.imitation_rate}
    folder = recipe.folder / "imitation"
    return replace(_matching(recipe), folder=folder, minutes=recipe.imitating, learning_rates=rates, betas=BETAS)


def _matching(recipe: StudentRecipe) -> TrainConfig:
    return TrainConfig(
        folder=recipe.folder,
        minutes=recipe.minutes,
        learning_rates={STUDENT: recipe.student_rate, CRITIC: recipe.critic_rate},
        weight_decay=0.0,
        muon=r"blocks\..*weight" if recipe.muon_gain else "",
        muon_gain=recipe.muon_gain or 1.0,
        warmup=30,
        betas=recipe.betas,
        ema=recipe.ema,
        parts=recipe.parts,
        recompute=recipe.recompute,
        save_minutes=recipe.save_minutes,
        device=recipe.device,
    )
