"""How a backbone learns, all of its weights or a LoRA beside them, and what it is told meanwhile."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from enliven.errors import RequestError
from enliven.models.audio import AudioEncoder
from enliven.models.networks import save_backbone
from enliven.systems.spec import ModelSpec
from enliven.train.batches import Listening
from enliven.train.cuts import PivotCuts, ReencodedCuts, StitchedCuts
from enliven.train.flow import FlowObjective
from enliven.train.lora import WithLora, save_lora
from enliven.train.processes import first_alone
from enliven.train.samples import talking_sample
from enliven.train.trainer import Batch, TrainConfig, Trainer
from enliven.types import OnProgress, ignore_progress

BACKBONE = "backbone"


@dataclass(frozen=True, slots=True)
class LoraChoice:
    """A LoRA of ``rank`` beside the linear layers whose names match ``targets``; none with a rank of 0.

    It is added ``alpha / rank`` times; an ``alpha`` of 0 means as much as the rank.
    """

    rank: int = 0
    alpha: float = 0.0
    targets: str = r"blocks\."

    @property
    def scale(self) -> float:
        """How strongly it is added."""
        return (self.alpha or self.rank) / self.rank


class LoraFlow(FlowObjective):
    """Flow matching in which a LoRA learns and the network beside it stays."""

    def __init__(self, backbone: nn.Module, choice: LoraChoice) -> None:
        super().__init__(backbone)
        self.learnt = WithLora(backbone, choice.rank, choice.targets)
        for adapter in self.learnt.adapters:
            adapter.scale, adapter.strength = choice.scale, 1.0  # type: ignore[assignment]
        self.networks: Mapping[str, nn.Module] = {BACKBONE: self.learnt}
        self.frozen: Mapping[str, nn.Module] = {BACKBONE: backbone}


def train_backbone(
    config: TrainConfig,
    objective: FlowObjective,
    batches: Iterator[Batch],
    spec: ModelSpec,
    weights: Path,
    on_progress: OnProgress = ignore_progress,
) -> None:
    """Train all of the backbone of an objective; its averaged weights go into the model folder ``weights``.

    Raises as ``Trainer.fit``.
    """
    trainer = Trainer(config, objective, batches, talking_sample(spec, weights))
    trainer.fit(on_progress)
    learnt = trainer.averaged_network(BACKBONE)
    first_alone(lambda: save_backbone(learnt, weights))


def train_lora(  # noqa: PLR0913 - all of them by name
    config: TrainConfig,
    network: nn.Module,
    choice: LoraChoice,
    batches: Iterator[Batch],
    spec: ModelSpec,
    weights: Path,
    *,
    file: Path,
    on_progress: OnProgress = ignore_progress,
) -> None:
    """Train a LoRA of the backbone in the model folder ``weights``; it goes into ``file``, for ``--lora``."""
    objective = LoraFlow(network, choice)
    trainer = Trainer(config, objective, batches, talking_sample(spec, weights))
    trainer.fit(on_progress)
    objective.learnt.load_state_dict(trainer.averaged(BACKBONE))
    first_alone(lambda: save_lora(objective.learnt, file))


def cuts(spec: ModelSpec, people: int = 1, frames: int | None = None) -> StitchedCuts | PivotCuts:
    """The training clips of a model: with a pivot, or with a context as it is carried; several people are seen.

    They have as many latent ``frames`` as when a video is made, or fewer.
    """
    geometry = spec.geometry
    frames, context = frames or geometry.latents(geometry.frames), geometry.latents(geometry.context)
    if geometry.pivot:
        return PivotCuts(spec.arrange, frames, context)
    cut = StitchedCuts(frames, context) if spec.carry.continuous else ReencodedCuts(frames, context)
    return cut if people == 1 else cut.shown()


def listening(spec: ModelSpec, ears: AudioEncoder) -> Listening:
    """What the backbone hears around a video frame. Raises RequestError for a backbone that hears nothing."""
    hearing = spec.params.backbone.audio
    if hearing is None:
        raise RequestError(f"{spec.name} hears nothing", hint="name an avatar model")
    return Listening(hearing.audio_window, int(ears.rate / spec.geometry.fps), ears.outside)
