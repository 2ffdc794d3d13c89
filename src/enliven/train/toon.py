"""A toon model from nothing: speech, ears, words, drawings, latents, backbone.

    enliven train examples/toon.toml
    enliven train examples/toon.toml --stage backbone

Every stage keeps its data and checkpoints in the folder of the recipe and goes on where it was stopped.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from pathlib import Path

import torch

from enliven.data.clips import StoredFrames, ToonClip, shrunk
from enliven.data.encoded import encode_clip, save_encoded
from enliven.data.groups import SIZES, GroupClip, any_group
from enliven.data.world import World, render_clips
from enliven.errors import RequestError
from enliven.models.audio import AudioEncoder
from enliven.models.codebook import save_codebook
from enliven.models.mouth import MouthFromSpeech
from enliven.models.networks import build_network, load_network, save_network
from enliven.models.text import TextEncoder
from enliven.models.vae import ToonAutoencoder, ToonAutoencoderParams
from enliven.systems import find_model
from enliven.toonworld import espeak
from enliven.train.autoencoder import DecoderObjective, begin_linear, crop_batches
from enliven.train.backbones import LoraChoice, cuts, listening, train_backbone, train_lora
from enliven.train.batches import ClipBatches, MixedBatches
from enliven.train.codebook import CodebookRecipe, fit_codebook
from enliven.train.efficient import drawn_or_guessed, looks_back, train_efficient
from enliven.train.hearing import keep_fixed, new_ears, train_hearing
from enliven.train.narrowing import begin_narrow
from enliven.train.polishing import PolishingObjective, guessed_crops, save_guesses
from enliven.train.processes import first_alone, joined, rank_and_count
from enliven.train.reading import ReadingObjective, caption_batches, new_text_encoder
from enliven.train.trainer import TrainConfig, Trainer
from enliven.types import OnProgress, Progress, ignore_progress

log = logging.getLogger(__name__)

DECODER_MATRICES = r"(conv[12]|past)\.weight"
GUESSES = 150  # batches of clips
CELLS = 8  # latent cells along the side of a crop that decoders learn from


@dataclass(frozen=True, slots=True)
class Budget:
    """How long and how fast one network trains; ``batch`` in samples (the ears count seconds themselves).

    A step learns from ``parts`` batches, which processes share; ``recompute`` saves memory, see ``TrainConfig``.
    """

    minutes: float
    learning_rate: float
    batch: int = 8
    muon_gain: float = 6.0
    parts: int = 1
    recompute: bool = False


@dataclass(frozen=True, slots=True)
class Groups:
    """So many clips of several people, and the share of the backbone's batches that show them."""

    clips: int
    share: float


@dataclass(frozen=True, slots=True)
class ToonRecipe:
    """Everything that decides what a toon model becomes.

    ``folder`` holds data and checkpoints, ``weights`` receives the trained networks. The backbone learns from
    ``clips`` of ``frames`` video frames, a share of ``sights`` among them without people, of ``failures``, and of
    ``moves`` away from their pivot; the autoencoder from the first ``drawn`` of them, and at last from what the
    backbone makes of those (``polishing``). ``half`` is the backbone's training at half the size, before that at full
    size; a codebook of so many ``centroids`` is fitted.
    ``warm_start`` begins with the weights already there instead of from chance. With ``pairs`` and ``trios`` the
    backbone also learns who says what, from clips of two and of three people. Several processes draw and encode side
    by side when each does another ``part``: the first number of it, counted from 0, of as many as the second says.
    At last a ``lora`` may learn (``adapting``) beside the backbone.
    """

    folder: Path
    weights: Path
    model: str = "longcat-toon"
    utterances: int = 1500
    clips: int = 1500
    drawn: int = 400
    frames: int = 61
    sights: float = 0.0
    failures: float = 0.0
    moves: float = 0.0
    centroids: int = 0
    device: str = "cpu"
    threads: int = 1
    warm_start: bool = False
    part: tuple[int, int] = (0, 1)
    pairs: Groups = field(default_factory=lambda: Groups(0, 0.0))
    trios: Groups = field(default_factory=lambda: Groups(0, 0.0))
    hearing: Budget = field(default_factory=lambda: Budget(15, 1.5e-3))
    reading: Budget = field(default_factory=lambda: Budget(3, 2e-3, batch=40, muon_gain=8.0))
    autoencoder: Budget = field(default_factory=lambda: Budget(40, 1e-3, batch=8, muon_gain=12.0))
    efficient: Budget = field(default_factory=lambda: Budget(0, 1e-3, batch=8, muon_gain=12.0))
    half: Budget = field(default_factory=lambda: Budget(0, 1e-3, batch=8))
    backbone: Budget = field(default_factory=lambda: Budget(85, 1e-3, batch=8))
    polishing: Budget = field(default_factory=lambda: Budget(0, 5e-4, batch=8, muon_gain=12.0))
    lora: LoraChoice = field(default_factory=LoraChoice)
    adapting: Budget = field(default_factory=lambda: Budget(30, 3e-4, batch=8))

    def __post_init__(self) -> None:
        first, count = self.part
        if not 0 <= first < count:
            raise RequestError(f"part {first} of {count}", hint="count parts from 0: [0, 2] and [1, 2] are all of two")
        if self.groups and find_model(self.model).geometry.pivot:
            raise RequestError(f"{self.model} hears one voice", hint="leave out pairs and trios")

    @property
    def world(self) -> World:
        """What is drawn."""
        return World(
            self.frames, find_model(self.model).size, sights=self.sights, failures=self.failures, moves=self.moves
        )

    @property
    def utterances_on_disk(self) -> list[Path]:
        """What can be said."""
        return sorted((self.folder / "speech").glob("*.flac"))

    @property
    def groups(self) -> list[tuple[str, int, Groups]]:
        """Those groups that there are, and the number of people in them."""
        every = [("pairs", 2, self.pairs), ("trios", 3, self.trios)]
        return [each for each in every if each[-1].clips]

    def own(self, clips: int) -> range:
        """Which of so many clips this process makes."""
        return range(self.part[0], clips, self.part[1])


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
    config = replace(_config(recipe, recipe.hearing, "hearing"), muon="", dtype="float32", decay=0.5, ema=0.995)
    train_hearing(config, recipe.folder / "speech", encoder, heads, on_progress)
    save_network(encoder, recipe.weights / "audio")
    heads.save(mouth)


def _reading(recipe: ToonRecipe, on_progress: OnProgress) -> None:
    torch.manual_seed(0)
    encoder = new_text_encoder(find_model(recipe.model).params.text)
    config = replace(
        _config(recipe, recipe.reading, "reading"), muon=r"block\.\d.*weight", dtype="float32", decay=0.6, ema=0.99
    )
    trainer = Trainer(config, ReadingObjective(encoder), caption_batches(encoder, recipe.reading.batch))
    trainer.fit(on_progress)
    encoder.load_state_dict(trainer.averaged("text"))
    save_network(encoder, recipe.weights / "text")


def _drawing(recipe: ToonRecipe, on_progress: OnProgress) -> None:
    seeds = recipe.own(min(recipe.drawn, recipe.clips))
    render_clips(recipe.folder / "clips", recipe.utterances_on_disk, seeds, recipe.world, on_progress)


def _autoencoder(recipe: ToonRecipe, on_progress: OnProgress) -> None:
    """The linear encoder is decomposed once and then never moves: backbones depend on it."""
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
    config = replace(_config(recipe, recipe.autoencoder, "autoencoder"), muon=DECODER_MATRICES, decay=0.5)
    frames, side = 4 * looks_back(network) + 1, CELLS * network.spatial_factor
    batches = crop_batches(videos, batch=recipe.autoencoder.batch, frames=frames, side=side)
    trainer = Trainer(config, DecoderObjective(network), batches)
    trainer.fit(on_progress)
    network.load_state_dict(trainer.averaged("autoencoder"))
    save_network(network, folder, torch.float32)


def _efficient(recipe: ToonRecipe, on_progress: OnProgress) -> None:
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
    config = replace(_config(recipe, recipe.efficient, "efficient"), muon=DECODER_MATRICES, decay=0.5)
    train_efficient(config, student, teacher, batches, on_progress)
    save_network(student, folder, torch.float32)


def _codebook(recipe: ToonRecipe, on_progress: OnProgress) -> None:
    """What latents look like, for models that repair what a clip hands to the next."""
    if recipe.centroids:
        wanted = CodebookRecipe(size=recipe.centroids, per_centroid=True)
        save_codebook(
            fit_codebook(recipe.folder / "encoded", wanted, on_progress=on_progress), recipe.weights / "codebook"
        )


def _encoding(recipe: ToonRecipe, on_progress: OnProgress) -> None:
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
                save_encoded(encode_clip(draw(seed), autoencoder, hearing, seed=seed), stored)
            done += 1
            on_progress(Progress("", done, sum(len(seeds) for _, _, seeds in kinds)))


def _kinds(recipe: ToonRecipe) -> list[tuple[Path, Callable[[int], ToonClip | GroupClip], range]]:
    """Where encoded clips of each kind lie, what draws them, and which of them this process makes."""
    speech = recipe.utterances_on_disk

    def single(seed: int, shrink: int) -> ToonClip:
        return shrunk(recipe.world.clip(seed, speech), shrink)

    def group(seed: int, people: int) -> GroupClip:
        return any_group(seed, speech, people=people, frames=recipe.frames)

    singles = {"encoded": 1} | ({"half-encoded": 2} if recipe.half.minutes else {})
    kinds: list[tuple[Path, Callable[[int], ToonClip | GroupClip], range]] = [
        *((recipe.folder / name, partial(single, shrink=by), recipe.own(recipe.clips)) for name, by in singles.items()),
        *(
            (recipe.folder / f"{name}-encoded", partial(group, people=people), recipe.own(groups.clips))
            for name, people, groups in recipe.groups
        ),
    ]
    for folder, _, _ in kinds:
        folder.mkdir(parents=True, exist_ok=True)
    return kinds


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
    batches = _batches(recipe, budget, "half-encoded") if name == "half" else _mixed(recipe, budget)
    config = replace(_config(recipe, budget, name), ema=0.997)
    train_backbone(config, network, iter(batches), spec, recipe.weights, on_progress)


def _lora(recipe: ToonRecipe, on_progress: OnProgress) -> None:
    """A LoRA beside the weights of the backbone, which stay; it goes into the folder of the recipe."""
    if recipe.lora.rank:
        network = load_network(recipe.weights / "backbone")
        config, batches = _config(recipe, recipe.adapting, "lora"), iter(_mixed(recipe, recipe.adapting))
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


def _polishing(recipe: ToonRecipe, on_progress: OnProgress) -> None:
    """The decoder learns from the backbone's guesses of the drawn clips."""
    if not recipe.polishing.minutes:
        return
    folder, guesses = recipe.weights / "autoencoder", recipe.folder / "guesses"
    autoencoder: ToonAutoencoder = load_network(folder).requires_grad_(requires_grad=True)
    if not guesses.is_dir():
        torch.manual_seed(0)
        backbone, drawn = load_network(recipe.weights / "backbone"), _batches(recipe, recipe.polishing, "encoded")
        there = {path.name for path in (recipe.folder / "clips").iterdir()}
        drawn.clips = {name: clip for name, clip in drawn.clips.items() if name in there}
        for done in save_guesses(backbone, drawn, guesses, GUESSES):
            on_progress(Progress("guess", done, GUESSES))
    sizes = {"batch": recipe.polishing.batch, "latents": looks_back(autoencoder) + 1}
    batches = guessed_crops(guesses, recipe.folder / "clips", autoencoder, **sizes)
    config = replace(_config(recipe, recipe.polishing, "polishing"), muon=DECODER_MATRICES, decay=0.5)
    trainer = Trainer(config, PolishingObjective(autoencoder), batches)
    trainer.fit(on_progress)
    autoencoder.load_state_dict(trainer.averaged("autoencoder"))
    save_network(autoencoder, folder, torch.float32)


def _batches(recipe: ToonRecipe, budget: Budget, encoded: str, people: int = 1) -> ClipBatches:
    """Wider pictures come fewer to a batch, for a batch to cost the same."""
    spec, batch = find_model(recipe.model), max(1, round(budget.batch * prod(SIZES[1]) / prod(SIZES[people])))
    text: TextEncoder = load_network(recipe.weights / "text")
    heard = listening(spec, load_network(recipe.weights / "audio"))
    return ClipBatches(recipe.folder / encoded, text, cuts(spec, people), batch=batch, listening=heard)


def _mixed(recipe: ToonRecipe, budget: Budget) -> MixedBatches:
    """Clips of one person, and groups as often as the recipe says."""
    kinds = [(each.share, _batches(recipe, budget, f"{name}-encoded", people)) for name, people, each in recipe.groups]
    alone = 1 - sum(share for share, _ in kinds)
    return MixedBatches([(alone, _batches(recipe, budget, "encoded")), *kinds])


def _config(recipe: ToonRecipe, budget: Budget, name: str) -> TrainConfig:
    return TrainConfig(
        folder=recipe.folder / name,
        minutes=budget.minutes,
        learning_rate=budget.learning_rate,
        muon_gain=budget.muon_gain,
        muon=r"blocks\..*weight",
        device=recipe.device,
        parts=budget.parts,
        recompute=budget.recompute,
    )


TOGETHER = ("half", "backbone", "lora")  # by all processes; in other stages all wait for the first
STAGES: Mapping[str, Callable[[ToonRecipe, OnProgress], None]] = {
    "speech": _speech,
    "hearing": _hearing,
    "reading": _reading,
    "drawing": _drawing,
    "autoencoder": _autoencoder,
    "encoding": _encoding,
    "codebook": _codebook,
    "half": _half,
    "backbone": _backbone,
    "polishing": _polishing,
    "efficient": _efficient,
    "lora": _lora,
}
