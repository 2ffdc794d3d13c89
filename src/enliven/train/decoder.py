"""An efficient decoder of full size, Soul's eVAE (3.3), learns from films and from the decoder it is to replace.

    enliven train examples/soul-evae.toml
    torchrun --nproc-per-node 8 -m enliven train examples/soul-evae.toml --set parts=64

It begins as the most useful channels of its teacher. A run that is stopped goes on where it was.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from enliven.data.films import LISTS, Film, find_films
from enliven.errors import ConfigError, RequestError, WeightsError
from enliven.models.layered import saved_parts, write_label
from enliven.models.networks import DECODER, load_network, save_network
from enliven.models.wan_autoencoder import WanAutoencoder, WanAutoencoderParams
from enliven.systems import choose_model
from enliven.systems.spec import ModelSpec
from enliven.train import checkpoint
from enliven.train.backbones import BACKBONE
from enliven.train.efficient import mixed, train_efficient
from enliven.train.evae import EfficientDecoderObjective, EfficientWeights
from enliven.train.eyes import open_eyes
from enliven.train.film_crops import FilmCrops
from enliven.train.latent_crops import LatentCrops, find_generated
from enliven.train.narrowing import begin_narrow
from enliven.train.processes import broadcast, first_alone, joined, rank_and_count
from enliven.train.trainer import Batch, TrainConfig
from enliven.types import OnProgress, ignore_progress

TEACHER = "autoencoder"
EFFICIENT = f"{DECODER}efficient"


@dataclass(frozen=True, slots=True)
class Crops:
    """What a decoder learns from: squares of ``side`` pixels and ``frames`` frames, so many in a ``batch``."""

    side: int = 256
    frames: int = 17
    batch: int = 1


@dataclass(frozen=True, slots=True)
class Generated:
    """Latents that a model has made: folders of ``clips``, and in which ``share`` of the batches they come."""

    clips: tuple[Path, ...]
    share: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ConfigError(f"generated.share is {self.share:g}", hint="give a share above 0, at most 1")


@dataclass(frozen=True, slots=True)
class DecoderRecipe:
    """Everything that decides what an efficient decoder becomes.

    The teacher is the autoencoder in the model folder ``weights``, and the decoder goes into the model folder
    ``result``: that of the teacher, or one that lies over it. ``films`` are videos, folders of them, or lists. It also
    learns from ``generated`` latents, if there are any; what its teacher paints of them is true.
    The student's last level has ``width`` channels of features, and the others as many times that as the teacher's;
    its channels are chosen by how the teacher paints ``measured`` crops. With ``begun``, the folder of an efficient
    decoder, it goes on from that one instead.

    Features fade over the first ``losses.feature_steps`` steps; what is perceived needs ``eyes``, a folder with weights
    of VGG-16. From then on pictures also have to look real, as strongly as ``adversarial`` says. A step learns from
    ``parts`` batches, which processes share. ``folder`` holds checkpoints.
    """

    kind: Literal["decoder"]
    folder: Path
    weights: Path
    result: Path
    films: tuple[Path, ...]
    model: str | None = None
    width: int = 64
    measured: int = 64
    begun: Path | None = None
    eyes: Path | None = None
    crops: Crops = field(default_factory=Crops)
    generated: Generated | None = None
    losses: EfficientWeights = field(default_factory=EfficientWeights)
    adversarial: float = 0.0
    steps: int = 100_000
    minutes: float = math.inf
    learning_rate: float = 1e-4
    warmup: int = 1000
    weight_decay: float = 0.01
    ema: float = 0.999
    parts: int = 1
    save_minutes: float = 20.0
    log_every: int = 20
    seed: int = 0
    device: str = "cuda"
    dtype: Literal["float32", "bfloat16"] = "bfloat16"

    def __post_init__(self) -> None:
        if self.adversarial < 0:
            raise ConfigError(f"adversarial is {self.adversarial:g}", hint="give 0 for no such phase, or more")
        for name, value in (("width", self.width), ("measured", self.measured), ("crops.batch", self.crops.batch)):
            if value < 1:
                raise ConfigError(f"{name} is {value}", hint="give at least 1")

    @property
    def config(self) -> TrainConfig:
        """The same for the trainer."""
        return TrainConfig(
            folder=self.folder,
            steps=self.steps,
            minutes=self.minutes,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            muon="",
            warmup=self.warmup,
            course="cosine",
            ema=self.ema,
            parts=self.parts,
            save_minutes=self.save_minutes,
            log_every=self.log_every,
            seed=self.seed,
            device=self.device,
            dtype=self.dtype,
        )


def train_decoder(recipe: DecoderRecipe, on_progress: OnProgress = ignore_progress) -> Path:
    """Train an efficient decoder and write it; returns the folder of the model that has it.

    Raises RequestError for a model that knows none, ConfigError for settings or films that do not fit, MediaError where
    no film can be read, WeightsError, and as ``Trainer.fit``.
    """
    if recipe.device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device is {recipe.device}, and there is none", hint="--set device=cpu, for a small model")
    _check_target(recipe)
    spec, teacher = find_teacher(recipe)
    require_whole(recipe.crops, teacher)
    with joined(recipe.device):
        films = broadcast(lambda: _films(recipe.films))
        crops = recipe.crops
        shown = FilmCrops(films, spec.geometry.fps, crops.batch, crops.frames, crops.side)
        batches = _batches(recipe, teacher, shown)
        student = new_student(recipe, teacher, shown)
        eyes = open_eyes(recipe.eyes) if recipe.eyes else None
        objective = EfficientDecoderObjective(student, teacher, recipe.losses, eyes=eyes)
        tell = ignore_progress if rank_and_count()[0] else on_progress
        train_efficient(recipe.config, objective, batches, tell, adversarial=recipe.adversarial)
        first_alone(lambda: _write(recipe, spec, student))
    return recipe.result


def find_teacher(recipe: DecoderRecipe) -> tuple[ModelSpec, WanAutoencoder]:
    """The model, and the autoencoder in its folder. Raises RequestError, WeightsError."""
    spec = choose_model(recipe.model, recipe.weights)
    if not isinstance(spec.params.decoders.get("efficient"), WanAutoencoderParams):
        raise RequestError(
            f"{spec.name} has no efficient decoder that learns from films",
            hint="soul has one; that of soul-toon learns as examples/soul.toml says, with --stage efficient",
        )
    there = saved_parts(recipe.weights)
    network = load_network(there[TEACHER]) if TEACHER in there else None
    if not isinstance(network, WanAutoencoder):
        raise WeightsError(
            f"{recipe.weights} holds no autoencoder of {spec.name} to learn from",
            hint="python -m enliven.train.begin_soul makes such a folder",
        )
    return spec, network


def require_whole(crops: Crops, teacher: WanAutoencoder) -> None:
    """Raise ConfigError unless crops fill whole latents."""
    side, time = teacher.spatial_factor, teacher.temporal_factor
    if crops.side < side or crops.side % side or crops.frames < 1 or crops.frames % time != 1:
        raise ConfigError(
            f"crops of {crops.side} pixels and {crops.frames} frames fill no whole latents",
            hint=f"crops.side is a multiple of {side}, crops.frames one more than a multiple of {time}",
        )


def narrowed(params: WanAutoencoderParams, width: int) -> WanAutoencoderParams:
    """The same, with a decoder whose last level has ``width`` channels: of Wan 2.2 with 64, the eVAE."""
    return WanAutoencoderParams({**params.config, "decoder_base_dim": width})


def new_student(recipe: DecoderRecipe, teacher: WanAutoencoder, batches: Iterable[Batch]) -> WanAutoencoder:
    """What learns: as it was ``begun``, or the teacher made narrow; of a run that goes on, only its sizes.

    Raises ConfigError for a student wider than its teacher, RequestError, MediaError.
    """
    widest = teacher.network.config.decoder_base_dim or teacher.network.config.base_dim
    if recipe.width > widest:
        raise ConfigError(f"width is {recipe.width}, wider than the teacher", hint=f"give at most {widest}")
    torch.manual_seed(recipe.seed)
    student = WanAutoencoder(narrowed(teacher.params, recipe.width))
    if _has_begun(recipe):
        return student
    if recipe.begun is None:
        teacher.to(recipe.device)
        begin_narrow(student, teacher, _latents(recipe, teacher, iter(batches)))
        return student
    begun = load_network(recipe.begun)
    if getattr(begun, "params", None) != student.params:
        raise WeightsError(f"{recipe.begun} holds no decoder of this width", hint="set width to that of its training")
    student.load_state_dict(begun.state_dict())
    return student


def _latents(recipe: DecoderRecipe, teacher: WanAutoencoder, batches: Iterator[Batch]) -> Float[Tensor, "b c t h w"]:
    """Of as many crops as are to be measured."""
    crops = islice((video for batch in batches for video in batch["video"].split(1)), recipe.measured)
    return torch.cat([teacher.encode(video.to(recipe.device).float() / 127.5 - 1) for video in crops])


def _batches(recipe: DecoderRecipe, teacher: WanAutoencoder, films: FilmCrops) -> Iterator[Batch]:
    """Films, and a share of generated latents if that is asked for."""
    generated, crops = recipe.generated, recipe.crops
    if generated is None:
        return iter(films)
    latents = LatentCrops(
        broadcast(lambda: find_generated(generated.clips)),
        teacher.channels,
        crops.batch,
        count=1 + crops.frames // teacher.temporal_factor,
        side=crops.side // teacher.spatial_factor,
    )
    return mixed(iter(films), iter(latents), generated.share)


def _films(sources: tuple[Path, ...]) -> list[Film]:
    films = [film for source in sources for film in find_films(source)]
    if not films:
        raise ConfigError(
            f"there are no films in {', '.join(map(str, sources)) or 'the recipe'}", hint=f"as films give {LISTS}"
        )
    return films


def _check_target(recipe: DecoderRecipe) -> None:
    """What is there and is not of this run stays: another model, and an efficient decoder that was not made here."""
    other = recipe.result.resolve() != recipe.weights.resolve() and (recipe.result / BACKBONE).exists()
    if other or ((recipe.result / EFFICIENT).exists() and not _has_begun(recipe)):
        raise ConfigError(
            f"{recipe.result} holds {'another model' if other else 'an efficient decoder'} that would be lost",
            hint="name another folder as the result",
        )


def _has_begun(recipe: DecoderRecipe) -> bool:
    return checkpoint.find(recipe.folder / checkpoint.CHECKPOINT) is not None


def _write(recipe: DecoderRecipe, spec: ModelSpec, student: WanAutoencoder) -> None:
    if recipe.result.resolve() != recipe.weights.resolve():
        write_label(recipe.result, spec.name, recipe.weights)
    save_network(student, recipe.result / EFFICIENT, torch.float32)
