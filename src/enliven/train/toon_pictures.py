"""How a toon model learns to draw: frames, the autoencoder of them, a narrow decoder, and a last polish."""

from dataclasses import replace

import torch

from enliven.data.clips import StoredFrames
from enliven.data.world import render_clips
from enliven.errors import RequestError
from enliven.judges.quality import QualityJudge
from enliven.models.networks import build_network, load_network, save_network
from enliven.models.vae import ToonAutoencoder, ToonAutoencoderParams
from enliven.systems import find_model
from enliven.train.autoencoder import DecoderObjective, begin_linear, crop_batches
from enliven.train.efficient import drawn_or_guessed, looks_back, train_efficient
from enliven.train.evae import EfficientDecoderObjective, EfficientWeights
from enliven.train.narrowing import begin_narrow
from enliven.train.polishing import PolishingObjective, guessed_crops, save_guesses
from enliven.train.toon_clips import clip_batches
from enliven.train.toon_recipe import ToonRecipe
from enliven.train.trainer import Trainer
from enliven.types import OnProgress, Progress

DECODER_MATRICES = r"(conv[12]|past)\.weight"
# A narrowed student begins beside its teacher, whose features hold it there at first. It may become better: absolute
# errors to teacher and truth together are the same anywhere between the two, so the teacher's pictures are left out.
# The gradient of what is perceived is a hundred times that of the pixels.
LESSON = EfficientWeights(teacher=0.0, edges=0.5, perceived=0.03, features=0.3, feature_steps=180)
CELLS = 8  # latent cells along the side of a crop that decoders learn from


def draw_clips(recipe: ToonRecipe, on_progress: OnProgress) -> None:
    """Draw the frames that the autoencoder learns from; what is there already stays."""
    seeds = recipe.own(min(recipe.drawn, recipe.clips))
    render_clips(recipe.folder / "clips", recipe.utterances_on_disk, seeds, recipe.world, on_progress)


def train_autoencoder(recipe: ToonRecipe, on_progress: OnProgress) -> None:
    """Learn to decode the drawn frames.

    The linear encoder is decomposed once and then never moves: backbones depend on it. Raises RequestError for a model
    whose autoencoder is of another kind.
    """
    folder = recipe.weights / "autoencoder"
    videos = StoredFrames(sorted((recipe.folder / "clips").glob("*.safetensors")))
    torch.manual_seed(0)
    if recipe.warm_start:
        network: ToonAutoencoder = load_network(folder).requires_grad_(requires_grad=True)
    else:
        params = find_model(recipe.model).params.autoencoder
        if not isinstance(params, ToonAutoencoderParams):
            raise RequestError(f"{recipe.model} has no toon autoencoder to train", hint="name a toon model")
        network = ToonAutoencoder(params)
        begin_linear(network, videos[:300])
    config = replace(recipe.training(recipe.autoencoder, "autoencoder"), muon=DECODER_MATRICES, decay=0.5)
    frames, side = 4 * looks_back(network) + 1, CELLS * network.spatial_factor
    batches = crop_batches(videos, batch=recipe.autoencoder.batch, frames=frames, side=side)
    trainer = Trainer(config, DecoderObjective(network), batches)
    trainer.fit(on_progress)
    network.load_state_dict(trainer.averaged("autoencoder"))
    save_network(network, folder, torch.float32)


def train_narrow(recipe: ToonRecipe, on_progress: OnProgress) -> None:
    """The eVAE: the narrow decoder learns from video and from the wide one, beginning as its most useful channels.

    Half of the time it learns from what the backbone guessed, as the wide one does when it is polished.
    """
    decoders = find_model(recipe.model).params.decoders
    if not recipe.efficient.minutes or "efficient" not in decoders:
        return
    videos = StoredFrames(sorted((recipe.folder / "clips").glob("*.safetensors")))
    teacher: ToonAutoencoder = load_network(recipe.weights / "autoencoder")
    torch.manual_seed(0)
    batch, latents = recipe.efficient.batch, looks_back(teacher) + 1
    batches = crop_batches(videos, batch=batch, frames=4 * latents - 3, side=CELLS * teacher.spatial_factor)
    folder, guesses = recipe.weights / "autoencoder-efficient", recipe.folder / "guesses"
    if recipe.warm_start:
        student: ToonAutoencoder = load_network(folder).requires_grad_(requires_grad=True)
    else:
        student = build_network(decoders["efficient"])
        begin_narrow(student, teacher, teacher.encode(next(batches)["video"].float() / 127.5 - 1))
    if guesses.is_dir():
        guessed = guessed_crops(guesses, recipe.folder / "clips", teacher, batch=batch, latents=latents)
        batches = drawn_or_guessed(batches, guessed)
    config = replace(recipe.training(recipe.efficient, "efficient"), muon=DECODER_MATRICES, decay=0.5)
    objective = EfficientDecoderObjective(student, teacher, LESSON, eyes=QualityJudge().network.trunk)
    train_efficient(config, objective, batches, on_progress, adversarial=recipe.adversarial)
    save_network(student, folder, torch.float32)


def polish(recipe: ToonRecipe, on_progress: OnProgress) -> None:
    """The decoder learns from the backbone's guesses of the drawn clips."""
    if not recipe.polishing.minutes:
        return
    folder, guesses = recipe.weights / "autoencoder", recipe.folder / "guesses"
    autoencoder: ToonAutoencoder = load_network(folder).requires_grad_(requires_grad=True)
    if not guesses.is_dir():
        torch.manual_seed(0)
        backbone, drawn = load_network(recipe.weights / "backbone"), clip_batches(recipe, recipe.polishing, "encoded")
        there = {path.name for path in (recipe.folder / "clips").iterdir()}
        drawn.clips = {name: clip for name, clip in drawn.clips.items() if name in there}
        spec = find_model(recipe.model)
        last = spec.schedule(spec.steps)[-2]
        for done in save_guesses(backbone, drawn, guesses, recipe.guesses, last):
            on_progress(Progress("guess", done, recipe.guesses))
    sizes = {"batch": recipe.polishing.batch, "latents": looks_back(autoencoder) + 1}
    batches = guessed_crops(guesses, recipe.folder / "clips", autoencoder, **sizes)
    config = replace(recipe.training(recipe.polishing, "polishing"), muon=DECODER_MATRICES, decay=0.5)
    trainer = Trainer(config, PolishingObjective(autoencoder), batches)
    trainer.fit(on_progress)
    autoencoder.load_state_dict(trainer.averaged("autoencoder"))
    save_network(autoencoder, folder, torch.float32)
