"""A backbone of any size learns from shards of encoded video, as the papers trained theirs.

    enliven encode videos/ -o shards --model longcat
    enliven train examples/longcat-avatar.toml
    torchrun --nproc-per-node 8 -m enliven train examples/longcat-avatar.toml --set pace.parts=8

Captions are encoded first, once; then the text encoder is let go and the backbone learns. A run that is stopped goes
on where it was, in its data too; in another number of processes, what was left of the epoch is shared anew.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from enliven.data.manifest import Manifest
from enliven.data.order import Order, Process
from enliven.errors import ConfigError, RequestError
from enliven.media.mux import write_video
from enliven.models.networks import completed
from enliven.pipeline import AvatarPipeline
from enliven.request import GenerateRequest
from enliven.train.backbones import BACKBONE, LoraChoice, LoraFlow
from enliven.train.beginning import Beginning, choose_trainable, find_beginning, save_beside
from enliven.train.flow import FlowObjective, NoiseLevels
from enliven.train.lora import running, save_lora
from enliven.train.processes import first_alone, joined, meet, rank_and_count
from enliven.train.sources import Source, Telling, captions_of, open_sources, read_sources
from enliven.train.texts import TextStore, encode_texts, encoder_name
from enliven.train.trainer import Sample, TrainConfig, Trainer
from enliven.types import OnProgress, ignore_progress

log = logging.getLogger(__name__)

ALL = ""  # found in every name
Found = Sequence[tuple[Source, Manifest]]  # the same for all stages, for no clip to come in between


@dataclass(frozen=True, slots=True)
class Pace:
    """How steps are taken, see ``TrainConfig``. It warms up and holds; a step has ``parts`` of ``batch`` clips.

    Weights in whose names an expression of ``rate_factors`` is found learn at so many times the rate, as new ones may.
    """

    steps: int = 100_000
    learning_rate: float = 1e-5
    rate_factors: Mapping[str, float] = field(default_factory=dict)
    warmup: int = 1000
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    ema: float = 0.999
    batch: int = 1
    parts: int = 1
    recompute: bool = True
    save_minutes: float = 20.0
    log_every: int = 1


@dataclass(frozen=True, slots=True)
class Watching:
    """A video to make of the averaged weights every so many ``minutes``, to look at.

    The other networks are read for it. Of several processes the first then holds the whole backbone; the others wait.
    """

    portrait: Path
    audio: Path
    prompt: str = ""
    minutes: float = 120.0
    steps: int | None = None


@dataclass(frozen=True, slots=True)
class BackboneRecipe:
    """Everything that decides what a backbone becomes.

    ``model`` and ``weights`` say what is begun from, as for ``enliven generate``; where ``deaf`` names the folder of a
    backbone that does not hear, its weights are taken and the layers that hear begin anew. What is learnt goes into
    ``result``: a model folder for ``--weights`` or, with a ``lora``, a file for ``--lora``. ``folder`` holds
    encoded captions and checkpoints.

    Weights learn whose names the regular expression ``trainable`` is found in; the others stay as they are, to the bit.
    Noise levels are those of ``levels``; ``moving_weight`` makes errors heavier where a clip moves.
    """

    kind: Literal["backbone"]
    folder: Path
    result: Path
    sources: tuple[Source, ...]
    model: str | None = None
    weights: Path | None = None
    base: Path | None = None
    deaf: Path | None = None
    trainable: str = ALL
    lora: LoraChoice = field(default_factory=LoraChoice)
    pace: Pace = field(default_factory=Pace)
    telling: Telling = field(default_factory=Telling)
    levels: NoiseLevels = field(default_factory=lambda: NoiseLevels("uniform", pure=0.0, floor=1e-6))
    moving_weight: float = 0.0
    watching: Watching | None = None
    seed: int = 0
    device: str = "cuda"
    dtype: Literal["float32", "bfloat16"] = "bfloat16"

    def __post_init__(self) -> None:
        if not self.sources:
            raise ConfigError("a recipe without sources", hint='add a [[sources]] table with shards = "FOLDER"')
        if self.lora.rank and (self.trainable != ALL or self.deaf):
            raise ConfigError("a LoRA learns beside a network that stays", hint="leave out trainable and deaf")

    @property
    def config(self) -> TrainConfig:
        """The same for the trainer."""
        pace = self.pace
        return TrainConfig(
            folder=self.folder / "training",
            steps=pace.steps,
            learning_rate=pace.learning_rate,
            rate_factors=pace.rate_factors,
            weight_decay=pace.weight_decay,
            muon="",
            warmup=pace.warmup,
            course="hold",
            clip_norm=pace.clip_norm,
            ema=pace.ema,
            parts=pace.parts,
            recompute=pace.recompute,
            save_minutes=pace.save_minutes,
            sample_minutes=self.watching.minutes if self.watching else math.inf,
            log_every=pace.log_every,
            seed=self.seed,
            device=self.device,
            dtype=self.dtype,
        )


def train_recipe(recipe: BackboneRecipe, stages: Sequence[str] = (), on_progress: OnProgress = ignore_progress) -> Path:
    """Run ``stages``, both when none is named; returns where the result is.

    Raises RequestError for an unknown stage, ConfigError for shards or settings that do not fit, WeightsError, and as
    ``Trainer.fit``.
    """
    for name in stages:
        if name not in STAGES:
            raise RequestError(f"there is no stage {name!r}", hint=f"the stages are {', '.join(STAGES)}")
    if recipe.device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device is {recipe.device}, and there is none", hint="--set device=cpu, for a small model")
    beginning = find_beginning(recipe.model, recipe.weights, recipe.base)
    with joined(recipe.device):
        tell = ignore_progress if rank_and_count()[0] else on_progress
        sources = read_sources(recipe.sources)
        for name in stages or STAGES:
            STAGES[name](recipe, beginning, sources, tell)
            meet()
    return recipe.result


def _texts(recipe: BackboneRecipe, beginning: Beginning, sources: Found, on_progress: OnProgress) -> None:
    """Encode every caption that any clip has."""
    text = beginning.parts["text"]
    encode_texts(
        captions_of(sources, recipe.telling.drops),
        lambda: text.load().to(recipe.device),
        _store(recipe, beginning),
        on_progress,
        _process(),
    )


def _backbone(recipe: BackboneRecipe, beginning: Beginning, sources: Found, on_progress: OnProgress) -> None:
    torch.manual_seed(recipe.seed)
    batches = open_sources(
        sources,
        beginning.spec,
        beginning.parts["audio"].shapes(),
        TextStore(_store(recipe, beginning), beginning.spec.params.text.length),
        recipe.telling,
        Order(size=recipe.pace.batch, seed=recipe.seed),
        _process(),
    )
    objective = _objective(recipe, beginning)
    objective.levels, objective.moving_weight = recipe.levels, recipe.moving_weight
    trainer = Trainer(recipe.config, objective, batches, _sample(recipe, beginning))
    trainer.fit(on_progress)
    if isinstance(objective, LoraFlow):
        objective.learnt.load_state_dict(trainer.averaged(BACKBONE))
        first_alone(lambda: save_lora(objective.learnt, recipe.result))
        return
    learnt = trainer.gathered(BACKBONE)
    first_alone(lambda: save_beside(beginning, learnt, recipe.result))


def _objective(recipe: BackboneRecipe, beginning: Beginning) -> FlowObjective:
    """What learns is kept in float32; what a LoRA learns beside, in the type it computes in."""
    if recipe.lora.rank:
        network = beginning.backbone(torch.bfloat16 if recipe.config.halves else torch.float32)
        return LoraFlow(network.to(recipe.device), recipe.lora)
    network = beginning.backbone(torch.float32, recipe.deaf)
    learning = choose_trainable(network, recipe.trainable)
    log.info("%.2f of %.2f million weights learn", learning / 1e6, sum(v.numel() for v in network.parameters()) / 1e6)
    return FlowObjective(network)


def _sample(recipe: BackboneRecipe, beginning: Beginning) -> Sample | None:
    """Makes the video that is asked for, with text encoder, audio encoder and autoencoder read for it alone."""
    wanted = recipe.watching
    if wanted is None:
        return None
    request = GenerateRequest(audio=(wanted.audio,), portrait=wanted.portrait, prompt=wanted.prompt, steps=wanted.steps)

    def sample(networks: Mapping[str, nn.Module], path: Path) -> None:
        beside = {name: part.load().to(recipe.device) for name, part in beginning.parts.items() if name != BACKBONE}
        computing = torch.autocast(torch.device(recipe.device).type, torch.bfloat16, enabled=recipe.config.halves)
        with computing, running(networks[BACKBONE]) as runs:
            made = completed({BACKBONE: runs, **beside}, beginning.folder, recipe.device)
            write_video(AvatarPipeline(beginning.spec, made).generate(request), path.with_suffix(".mp4"))

    return sample


def _store(recipe: BackboneRecipe, beginning: Beginning) -> Path:
    return recipe.folder / "texts" / encoder_name(beginning.parts["text"])


def _process() -> Process:
    rank, count = rank_and_count()
    return Process(rank, count)


STAGES: Mapping[str, Callable[[BackboneRecipe, Beginning, Found, OnProgress], None]] = {
    "texts": _texts,
    "backbone": _backbone,
}
