"""A toon model from nothing: speech, ears, words, drawings, latents, backbone.

    enliven train examples/toon.toml
    enliven train examples/toon.toml --stage backbone

Every stage keeps its data and checkpoints in the folder of the recipe and goes on where it was stopped.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from enliven.errors import RequestError
from enliven.models.codebook import save_codebook
from enliven.models.mouth import MouthFromSpeech
from enliven.models.networks import build_network, load_network, save_backbone, save_network
from enliven.systems import find_model
from enliven.toonworld import espeak
from enliven.train.backbones import train_backbone, train_lora
from enliven.train.codebook import CodebookRecipe, fit_codebook
from enliven.train.flow import FlowObjective
from enliven.train.hearing import keep_fixed, new_ears, train_hearing
from enliven.train.processes import first_alone, joined, rank_and_count
from enliven.train.reading import ReadingObjective, caption_batches, new_text_encoder
from enliven.train.toon_clips import clip_batches, encode_clips, mixed_batches
from enliven.train.toon_pictures import draw_clips, polish, train_autoencoder, train_narrow
from enliven.train.toon_recipe import Budget, Groups, ToonRecipe
from enliven.train.trainer import Trainer
from enliven.types import OnProgress, Progress, ignore_progress

__all__ = ["STAGES", "Budget", "Groups", "ToonRecipe", "train_toon"]

log = logging.getLogger(__name__)


def train_toon(recipe: ToonRecipe, stages: Sequence[str] = (), on_progress: OnProgress = ignore_progress) -> None:
    """Run ``stages`` (all, when none is named) in order. Raises RequestError for an unknown stage."""
    for name in stages:
        if name not in STAGES:
            raise RequestError(f"there is no stage {name!r}", hint=f"the stages are {', '.join(STAGES)}")
    torch.set_num_threads(recipe.threads)
    with joined(recipe.device):
        tell = ignore_progress if rank_and_count()[0] else on_progress
        for name in stages or STAGES:
            log.info("stage %s", name)
            run = partial(STAGES[name], recipe, _told(tell, name))
            run() if name in TOGETHER else first_alone(run)


def _told(on_progress: OnProgress, stage: str) -> OnProgress:
    return lambda progress: on_progress(replace(progress, stage=stage))


def _speech(recipe: ToonRecipe, on_progress: OnProgress) -> None:
    espeak.build(recipe.folder / "speech", "train", recipe.utterances)
    on_progress(Progress("", 1, 1))


def _hearing(recipe: ToonRecipe, on_progress: OnProgress) -> None:
    torch.manual_seed(0)
    mouth = recipe.weights / "audio_mouth.safetensors"
    if recipe.warm_start:
        encoder, heads = load_network(recipe.weights / "audio"), MouthFromSpeech.load(mouth)
        for part in (encoder, heads):
            part.requires_grad_(requires_grad=True)
        keep_fixed(encoder)
    else:
        encoder, heads = new_ears(find_model(recipe.model).params.audio)
    config = replace(recipe.training(recipe.hearing, "hearing"), muon="", dtype="float32", decay=0.5, ema=0.995)
    train_hearing(config, recipe.folder / "speech", encoder, heads, on_progress)
    save_network(encoder, recipe.weights / "audio")
    heads.save(mouth)


def _reading(recipe: ToonRecipe, on_progress: OnProgress) -> None:
    torch.manual_seed(0)
    encoder = new_text_encoder(find_model(recipe.model).params.text)
    # Muon makes queries and keys so large that attention, which T5 does not scale, sees one token and learns no more.
    config = replace(recipe.training(recipe.reading, "reading"), muon="", dtype="float32", decay=0.6, ema=0.99)
    trainer = Trainer(config, ReadingObjective(encoder), caption_batches(encoder, recipe.reading.batch))
    trainer.fit(on_progress)
    encoder.load_state_dict(trainer.averaged("text"))
    save_network(encoder, recipe.weights / "text")


def _codebook(recipe: ToonRecipe, on_progress: OnProgress) -> None:
    """What latents look like, for models that repair what a clip hands to the next."""
    if recipe.centroids:
        wanted = CodebookRecipe(size=recipe.centroids, per_centroid=recipe.per_centroid)
        save_codebook(
            fit_codebook(recipe.folder / "encoded", wanted, on_progress=on_progress), recipe.weights / "codebook"
        )


def _half(recipe: ToonRecipe, on_progress: OnProgress) -> None:
    if recipe.half.minutes:
        _train_backbone(recipe, recipe.half, "half", warm=recipe.warm_start, on_progress=on_progress)


def _backbone(recipe: ToonRecipe, on_progress: OnProgress) -> None:
    warm = recipe.warm_start or bool(recipe.half.minutes)
    _train_backbone(recipe, recipe.backbone, "backbone", warm=warm, on_progress=on_progress)


def _train_backbone(recipe: ToonRecipe, budget: Budget, name: str, *, warm: bool, on_progress: OnProgress) -> None:
    folder, spec = recipe.weights / "backbone", find_model(recipe.model)
    torch.manual_seed(0)
    network = load_network(folder).requires_grad_(requires_grad=True) if warm else build_network(spec.params.backbone)
    batches = clip_batches(recipe, budget, "half-encoded") if name == "half" else mixed_batches(recipe, budget)
    config = replace(recipe.training(budget, name), ema=0.997)
    objective, begun = FlowObjective(network, moving_weight=recipe.moving_weight), recipe.folder / name / "begun"
    if warm and recipe.kept and not begun.exists():  # a run that goes on began with the same
        first_alone(lambda: save_network(load_network(folder), begun, torch.float32))
    train_backbone(config, objective, iter(batches), spec, recipe.weights, on_progress)
    if warm and recipe.kept:
        first_alone(
            lambda: save_backbone(blended(load_network(folder), load_network(begun), recipe.kept), recipe.weights)
        )


@torch.no_grad()
def blended(network: nn.Module, other: nn.Module, share: float) -> nn.Module:
    """``network`` with a ``share`` of another's weights: the mean of two runs is often better than either."""
    for value, theirs in zip(network.parameters(), other.parameters(), strict=True):
        value.lerp_(theirs, share)
    return network


def _lora(recipe: ToonRecipe, on_progress: OnProgress) -> None:
    """A LoRA beside the weights of the backbone, which stay; it goes into the folder of the recipe."""
    if recipe.lora.rank:
        network = load_network(recipe.weights / "backbone")
        config, batches = recipe.training(recipe.adapting, "lora"), iter(mixed_batches(recipe, recipe.adapting))
        file, spec = recipe.folder / "lora.safetensors", find_model(recipe.model)
        train_lora(
            replace(config, muon="", ema=0.99),
            network,
            recipe.lora,
            batches,
            spec,
            recipe.weights,
            file=file,
            on_progress=on_progress,
        )


TOGETHER = ("half", "backbone", "lora")  # by all processes; in other stages all wait for the first
STAGES: Mapping[str, Callable[[ToonRecipe, OnProgress], None]] = {
    "speech": _speech,
    "hearing": _hearing,
    "reading": _reading,
    "drawing": draw_clips,
    "autoencoder": train_autoencoder,
    "encoding": encode_clips,
    "codebook": _codebook,
    "half": _half,
    "backbone": _backbone,
    "polishing": polish,
    "efficient": train_narrow,
    "lora": _lora,
}
