"""Clips of the drawn world as a backbone learns from them: encoded once, mixed as the recipe says."""

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path
from random import Random

import torch

from enliven.data.clips import ToonClip, shrunk
from enliven.data.encoded import encode_clip, save_encoded
from enliven.data.groups import SIZES, GroupClip, any_group
from enliven.models.audio import AudioEncoder
from enliven.models.networks import load_network
from enliven.models.text import TextEncoder
from enliven.models.vae import ToonAutoencoder
from enliven.systems import find_model
from enliven.systems.spec import ModelSpec
from enliven.train.augment_speech import disturb
from enliven.train.backbones import cuts, listening
from enliven.train.batches import ClipBatches, MixedBatches
from enliven.train.cuts import Cutting
from enliven.train.toon_recipe import Budget, ToonRecipe
from enliven.types import OnProgress, Progress

PICTURES = "pictures-encoded"
PICTURED, HEARD = 5, 25  # video frames: ears that hear less than a second of speech hear something else
FIRST_PICTURED = 2_000_000


def encode_clips(recipe: ToonRecipe, on_progress: OnProgress) -> None:
    """Each clip is drawn again, which is quicker than reading it, and encoded; at half the size, too, if asked for."""
    autoencoder: ToonAutoencoder = load_network(recipe.weights / "autoencoder")
    hearing: AudioEncoder = load_network(recipe.weights / "audio")
    parts = [path for part in ("autoencoder", "audio") for path in (recipe.weights / part).iterdir()]
    trained = max(path.stat().st_mtime for path in parts)
    done, kinds = 0, _kinds(recipe)
    for folder, draw, seeds in kinds:
        for seed in seeds:
            stored = folder / f"{seed:07d}.safetensors"
            if not stored.exists() or stored.stat().st_mtime < trained:  # of other encoders than now
                clip = recorded(draw(seed), Random(seed), recipe.recorded)
                save_encoded(encode_clip(clip, autoencoder, hearing, seed=seed), stored)
            done += 1
            on_progress(Progress("", done, sum(len(seeds) for _, _, seeds in kinds)))


def recorded(clip: ToonClip | GroupClip, random: Random, share: float) -> ToonClip | GroupClip:
    """A ``share`` of clips sound as if recorded in some room, with noise, and at times with music."""
    if random.random() >= share:
        return clip
    if isinstance(clip, GroupClip):
        return replace(clip, voices=torch.stack([disturb(voice, random) for voice in clip.voices]))
    return replace(clip, samples=disturb(clip.samples, random)) if len(clip.samples) else clip


def _kinds(recipe: ToonRecipe) -> list[tuple[Path, Callable[[int], ToonClip | GroupClip], range]]:
    """Where encoded clips of each kind lie, what draws them, and which of them this process makes."""
    speech = recipe.utterances_on_disk

    def single(seed: int, shrink: int) -> ToonClip:
        return shrunk(recipe.world.clip(seed, speech), shrink)

    def group(seed: int, people: int) -> GroupClip:
        return any_group(seed, speech, people=people, frames=recipe.frames)

    def picture(seed: int) -> ToonClip:
        people = replace(recipe.world, frames=HEARD, sights=0.0, moves=0.0, failures=0.0)
        clip, seen = people.clip(FIRST_PICTURED + seed, speech), slice(PICTURED)
        return replace(clip, frames=clip.frames[seen], state=clip.state[seen])

    singles = {"encoded": 1} | ({"half-encoded": 2} if recipe.half.minutes else {})
    kinds: list[tuple[Path, Callable[[int], ToonClip | GroupClip], range]] = [
        *((recipe.folder / name, partial(single, shrink=by), recipe.own(recipe.clips)) for name, by in singles.items()),
        *(
            (recipe.folder / f"{name}-encoded", partial(group, people=people), recipe.own(groups.clips))
            for name, people, groups in recipe.groups
        ),
    ]
    if recipe.pictures.clips:
        kinds.append((recipe.folder / PICTURES, picture, recipe.own(recipe.pictures.clips)))
    for folder, _, _ in kinds:
        folder.mkdir(parents=True, exist_ok=True)
    return kinds


def clip_batches(recipe: ToonRecipe, budget: Budget, encoded: str, people: int = 1) -> ClipBatches:
    """Wider pictures come fewer to a batch, for a batch to cost the same."""
    spec = find_model(recipe.model)
    text: TextEncoder = load_network(recipe.weights / "text")
    heard = listening(spec, load_network(recipe.weights / "audio"))
    batch = batch_of(budget.batch, people)
    return ClipBatches(recipe.folder / encoded, text, cuts(spec, people), batch=batch, listening=heard)


def batch_of(clips: int, people: int) -> int:
    """How many clips of so many ``people`` cost what a batch of ``clips`` of one person costs."""
    return max(1, round(clips * prod(SIZES[1]) / prod(SIZES[people])))


def mixed_batches(recipe: ToonRecipe, budget: Budget) -> MixedBatches:
    """Clips of one person, groups, glimpses and pictures as often as the recipe says."""
    kinds = [
        (each.share, clip_batches(recipe, budget, f"{name}-encoded", people)) for name, people, each in recipe.groups
    ]
    alone, spec = clip_batches(recipe, budget, "encoded"), find_model(recipe.model)
    if recipe.glimpses.share:
        frames = recipe.glimpses.frames
        kinds.append((recipe.glimpses.share, _shortened(alone, cuts(spec, frames=frames), frames + 1, spec)))
    if recipe.pictures.share:
        pictures = clip_batches(recipe, budget, PICTURES)
        kinds.append((recipe.pictures.share, _shortened(pictures, cuts(spec).described(1), 1, spec)))
    return MixedBatches([(1 - sum(share for share, _ in kinds), alone), *kinds])


def _shortened(batches: ClipBatches, cut: Cutting, frames: int, spec: ModelSpec) -> ClipBatches:
    """The same clips, ``cut`` to fewer latent ``frames``, those given among them: as many more make up for it."""
    whole, shortened = spec.geometry.latents(spec.geometry.frames) + 1, copy(batches)
    shortened.cut, shortened.batch = cut, round(batches.batch * whole / frames)
    return shortened
