"""Short trainings for ablations: a model goes on learning, and one thing is taken away from what it learns.

    python -m enliven.train.ablations unconditional continuation
    python -m enliven.train.ablations hybrid --data runs/soul/encoded --weights runs/soul/weights/soul-toon

reads the table ``teaching`` of ``examples/ablations/NAME.toml``. All its lessons begin with the same weights and take
equally many steps of the same size and seed; its codebooks are fitted on the same clips. Without ``--data`` it draws
and encodes clips first (needs espeak-ng). What was stopped goes on, what is done is not taught again;
``python -m enliven.bench.ablations`` measures what came of it.
"""

import argparse
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from enliven import config
from enliven.data.encoded import EncodedClip, load_encoded
from enliven.data.failures import CAPTIONS
from enliven.errors import ConfigError
from enliven.models.networks import load_network
from enliven.models.wan import Wan
from enliven.models.wan_weights import fill_wan
from enliven.systems import find_model
from enliven.systems.spec import ModelSpec
from enliven.train.ablation_codebooks import fit_codebooks
from enliven.train.backbones import BACKBONE, LoraChoice, cuts, listening, train_backbone, train_lora
from enliven.train.batches import ClipBatches
from enliven.train.beginning import HEARS
from enliven.train.codebook import CodebookRecipe
from enliven.train.cuts import Cut, Cutting, PivotCuts, StitchedCuts
from enliven.train.flow import FlowObjective
from enliven.train.logbook import read_curve
from enliven.train.toon import ToonRecipe, train_toon
from enliven.train.trainer import TrainConfig
from enliven.types import LatentClip, OnProgress, ignore_progress

log = logging.getLogger(__name__)

LORA = "lora.safetensors"
LOGGED = 10  # steps from one number of the curve of a lesson to the next


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is taught, and how it differs: by default in nothing.

    ``silent`` people are told an encoded quiet recording, or zeros as in the usual training for two tasks (LongCat
    3.2). A chunk that continues another is cut out of a longer encoding (``stitched``), or is encoded on its ``own``
    (Eq. 11). ``general`` video without people and ``failures`` may be left out (Soul 3.2). The pivot shows the moment
    just before the clip in ``opening`` of the batches, 0..1, or as often as usual (Soul 3.2). With a ``gate`` what
    hears begins anew behind gates of this number (Soul 3.1); the ``projector`` of audio before it is new, too, or kept.
    With a ``lora`` only that is taught.
    """

    name: str
    silent: Literal["encoded", "zeros"] = "encoded"
    chunks: Literal["stitched", "own"] = "stitched"
    general: bool = True
    failures: bool = True
    opening: float | None = None
    gate: float | None = None
    projector: Literal["new", "kept"] = "new"
    lora: LoraChoice = field(default_factory=LoraChoice)

    def __post_init__(self) -> None:
        if self.opening is not None and not 0 <= self.opening <= 1:
            raise ConfigError(f"{self.name!r} opens {self.opening:g} of its batches", hint="give a share from 0 to 1")
        if self.opening is not None and self.chunks == "own":
            raise ConfigError(f"{self.name!r} has its own chunks and a pivot", hint="leave one out: no model has both")
        if self.projector == "kept" and self.gate is None:
            raise ConfigError(f"{self.name!r} keeps a projector, but makes nothing anew", hint="give it a gate")

    def told(self, clip: EncodedClip) -> EncodedClip | None:
        """A clip as it is taught; None where it is not."""
        if (not self.general and not clip.audio.any()) or (not self.failures and clip.caption in CAPTIONS):
            return None
        return replace(clip, audio=torch.zeros_like(clip.audio)) if clip.silent and self.silent == "zeros" else clip

    def cutting(self, spec: ModelSpec) -> Cutting:
        """How clips are cut. Raises ConfigError for chunks of their own where a model has a pivot, and the reverse."""
        usual = cuts(spec)
        if self.opening is not None:
            if not isinstance(usual, PivotCuts):
                raise ConfigError(f"{spec.name} has no pivot to open with", hint="name a Soul model")
            return replace(usual, opening=self.opening)
        if self.chunks == "stitched":
            return usual
        if not isinstance(usual, StitchedCuts):
            raise ConfigError(f"{spec.name} has no chunks to encode on their own", hint="name a LongCat model")
        return OwnChunks(usual)

    def beginning(self, network: nn.Module) -> nn.Module:
        """The network as it is taught first. Raises ConfigError where there is no gate, or no hearing to make anew."""
        if self.gate is None:
            return network
        if not isinstance(network, Wan) or network.params.audio is None or self.lora.rank:
            raise ConfigError(
                f"{self.name!r} makes what hears behind a gate anew, in the backbone of a Soul model",
                hint="name such a model, and no LoRA: it would lie beside the old backbone",
            )
        return hearing_anew(network, self.gate, kept="audio_proj." if self.projector == "kept" else "")


@dataclass(frozen=True, slots=True)
class Teaching:
    """The ``lessons`` of an ablation, each of ``steps`` steps with ``batch`` of ``clips`` clips; ``codebooks`` by name.

    By ``rate_factors`` weights learn so many times as fast, see ``optimizers_of``.

    A codebook is fitted on all clips that are given, or on ``clips`` that are drawn.
    """

    lessons: tuple[Lesson, ...] = ()
    model: str = "longcat-toon"
    steps: int = 300
    batch: int = 4
    clips: int = 400
    learning_rate: float = 3e-4
    muon_gain: float = 6.0
    rate_factors: Mapping[str, float] = field(default_factory=dict)
    sights: float = 0.0
    codebooks: Mapping[str, CodebookRecipe] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OwnChunks:
    """Training without Cross-Chunk Latent Stitching: a chunk begins with the latent of a single frame.

    The toon encoder sees four frames at a time and nothing of others, so no other latent of the chunk differs.
    """

    stitched: StitchedCuts

    def __call__(self, clips: Sequence[EncodedClip]) -> Cut:
        """Draws its chances as ``StitchedCuts`` does."""
        cut = self.stitched(clips)
        if not cut.clip.layout.references:
            return cut
        nearest = [int((clip.reference_frames - cut.heard.start).abs().argmin()) for clip in clips]
        single = torch.stack([clip.references[place] for clip, place in zip(clips, nearest, strict=True)])
        truth, given = cut.clip.latents.clone(), cut.given.clone()
        truth[:, :, 1], given[:, :, 1] = single, single
        return replace(cut, clip=LatentClip(truth, cut.clip.layout), given=given)


def hearing_anew(network: Wan, gate: float, kept: str = "") -> Wan:
    """The same network before it heard anything: audio layers are copies of its text layers, gates ``gate`` (Soul 3.1).

    Whatever hears is new, but for weights whose names begin with what is ``kept``. All lessons begin with the same.
    """
    params = network.params
    assert params.audio is not None, "lessons with gates are of networks that hear"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = Wan(replace(params, audio=replace(params.audio, gate_init=gate)))
    learnt_before = network.state_dict()
    fill_wan(made, {name: value for name, value in learnt_before.items() if not HEARS.search(name)})
    if kept:
        made.load_state_dict({n: value for n, value in learnt_before.items() if n.startswith(kept)}, strict=False)
    return made


class TaughtBatches(ClipBatches):
    """Batches of the first ``count`` clips of several folders, as a lesson has them."""

    def __init__(self, folders: Sequence[Path], lesson: Lesson, count: int, **given: Any) -> None:
        self.folders, self.lesson, self.count = folders, lesson, count
        super().__init__(folders[0], **given)

    def look(self) -> None:
        """Take them in, once. Raises ConfigError where there are none."""
        if self.clips:
            return
        share = -(-self.count // len(self.folders))
        paths = [path for folder in self.folders for path in sorted(folder.glob("*.safetensors"))[:share]]
        told = {str(path): self.lesson.told(load_encoded(path)) for path in paths}
        self.clips = {name: clip for name, clip in told.items() if clip is not None}
        if not self.clips:
            raise ConfigError(f"no clips for {self.lesson.name!r} in {', '.join(map(str, self.folders))}")
        for caption in {clip.caption for clip in self.clips.values()} | {""}:
            self.texts[caption] = self.embed([caption])


def teach(
    teaching: Teaching,
    data: Sequence[Path],
    weights: Path,
    folder: Path,
    on_progress: OnProgress = ignore_progress,
) -> None:
    """Teach all lessons and fit all codebooks; each becomes a folder of weights in ``folder``.

    Raises as ``Trainer.fit`` and ``fit_codebooks``.
    """
    for lesson in teaching.lessons:
        taught = folder / lesson.name
        result = taught / (LORA if lesson.lora.rank else BACKBONE)
        if not result.exists():
            log.info("lesson %s", lesson.name)
            _teach(teaching, lesson, data, weights, taught, on_progress)
    fit_codebooks(teaching.codebooks, teaching.model, data, weights, folder, on_progress)


def learnt(taught: Path, lesson: str) -> dict[int, float]:
    """The loss of a lesson by its step, mean over the last ``LOGGED``; ``taught`` is where its weights lie.

    Lessons draw the same clips and noise in the same step, unless they are cut or told differently.
    """
    return read_curve(_training(taught, lesson), "flow")


def _training(taught: Path, lesson: str) -> Path:
    """The folder of a training, beside that of its weights."""
    return taught / f"{lesson} training"


def _teach(
    teaching: Teaching, lesson: Lesson, data: Sequence[Path], weights: Path, taught: Path, on_progress: OnProgress
) -> None:
    """Everything but the backbone is copied first; a LoRA lies beside the backbone it was taught with."""
    spec, leave = find_model(teaching.model), [] if lesson.lora.rank else [BACKBONE]
    shutil.copytree(weights, taught, ignore=lambda *_: leave, dirs_exist_ok=True)
    batches = TaughtBatches(
        data,
        lesson,
        teaching.clips,
        embed=load_network(weights / "text"),
        cut=lesson.cutting(spec),
        batch=teaching.batch,
        listening=listening(spec, load_network(weights / "audio")),
    )
    settings = TrainConfig(
        folder=_training(taught.parent, lesson.name),
        steps=teaching.steps,
        learning_rate=teaching.learning_rate,
        rate_factors=teaching.rate_factors,
        muon="" if lesson.lora.rank else r"blocks\..*weight",
        muon_gain=teaching.muon_gain,
        warmup=20,
        ema=0.98,
        sample_minutes=1e9,
        log_every=LOGGED,
    )
    network = lesson.beginning(load_network(weights / BACKBONE)).requires_grad_(requires_grad=True)
    if lesson.lora.rank:
        train_lora(
            settings, network, lesson.lora, iter(batches), spec, taught, file=taught / LORA, on_progress=on_progress
        )
    else:
        train_backbone(settings, FlowObjective(network), iter(batches), spec, taught, on_progress)


def drawn_data(teaching: Teaching, weights: Path, folder: Path, on_progress: OnProgress) -> list[Path]:
    """Clips drawn and encoded for this, where nobody gives others."""
    recipe = ToonRecipe(
        folder,
        weights,
        teaching.model,
        utterances=min(300, teaching.clips),
        clips=teaching.clips,
        sights=teaching.sights,
        threads=torch.get_num_threads(),
    )
    train_toon(recipe, ("speech", "encoding"), on_progress)
    return [folder / "encoded"]


def read_teaching(path: Path) -> Teaching | None:
    """What an ablation teaches; None where it teaches nothing. Raises ConfigError."""
    values = config.read(path).get("teaching")
    return None if values is None else config.parse(Teaching, values)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="ablations; all that teach, when none is named")
    parser.add_argument("--files", type=Path, default=Path("examples/ablations"), help="the folder of their TOML files")
    parser.add_argument("--data", type=Path, nargs="*", default=(), help="folders of encoded clips")
    parser.add_argument("--weights", type=Path, help="the weights to begin with, whose encoders encoded the clips")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablations"))
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("enliven.systems").setLevel(logging.WARNING)  # it tells of every layout that it makes
    for path in [asked.files / f"{name}.toml" for name in asked.names] or sorted(asked.files.glob("*.toml")):
        teaching = read_teaching(path)
        if teaching is not None:
            tell = said(path.stem)
            weights = asked.weights or find_model(teaching.model).weights
            data = asked.data or drawn_data(teaching, weights, asked.runs / "data" / teaching.model, tell)
            teach(teaching, data, weights, asked.runs / path.stem / "taught", tell)


def said(name: str) -> OnProgress:
    """Logs how far it has come, in tenths."""
    before: list[int] = []

    def tell(progress: Any) -> None:
        tenth = int(10 * progress.fraction) if progress.total else 0
        if before != [tenth]:
            before[:] = [tenth]
            log.info("%s: %s, %d %%", name, progress.stage, 10 * tenth)

    return tell


if __name__ == "__main__":
    main()
