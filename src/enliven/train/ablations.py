"""Short trainings for ablations: a model goes on learning, and one thing is taken away from what it learns.

    python -m enliven.train.ablations unconditional continuation
    python -m enliven.train.ablations hybrid --data runs/soul/encoded --weights runs/soul/weights/soul-toon

reads the table ``teaching`` of ``examples/ablations/NAME.toml``. All its lessons begin with the same weights and take
equally many steps of the same size and seed; its codebooks are fitted on the same clips. Without ``--data`` it draws
and encodes clips first (needs espeak-ng). What was stopped goes on, what is done is not taught again, and what was
made from anything else is refused; ``python -m enliven.bench.ablations`` measures what came of it.
"""

import argparse
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from enliven import config
from enliven.data.encoded import load_encoded
from enliven.errors import ConfigError, WeightsError
from enliven.models.layered import LABEL
from enliven.models.networks import fingerprint, load_network, load_networks
from enliven.systems import find_model
from enliven.train.ablation_codebooks import fit_codebooks
from enliven.train.ablation_lessons import Lesson
from enliven.train.backbones import BACKBONE, listening, train_backbone, train_lora
from enliven.train.batches import ClipBatches
from enliven.train.codebook import CodebookRecipe
from enliven.train.flow import FlowObjective
from enliven.train.logbook import read_curve
from enliven.train.made_from import FILE, digest, note_made_from, require_made_from
from enliven.train.toon import ToonRecipe, train_toon
from enliven.train.trainer import TrainConfig
from enliven.types import OnProgress, ignore_progress

log = logging.getLogger(__name__)

LORA = "lora.safetensors"
LOGGED = 10  # steps from one number of the curve of a lesson to the next


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


class TaughtBatches(ClipBatches):
    """Batches of the first ``count`` clips of several folders, as a lesson has them."""

    def __init__(self, folders: Sequence[Path], lesson: Lesson, count: int, **given: Any) -> None:
        self.folders, self.lesson, self.count = folders, lesson, count
        super().__init__(folders[0], **given)

    def look(self) -> None:
        """Take them in, once. Raises ConfigError where there are none."""
        if self.clips:
            return
        paths = first_clips(self.folders, self.count)
        told = {str(path): self.lesson.told(load_encoded(path)) for path in paths}
        self.clips = {name: clip for name, clip in told.items() if clip is not None}
        if not self.clips:
            raise ConfigError(f"no clips for {self.lesson.name!r} in {', '.join(map(str, self.folders))}")
        for caption in {clip.caption for clip in self.clips.values()} | {""}:
            self.texts[caption] = self.embed([caption])


def first_clips(folders: Sequence[Path], count: int) -> list[Path]:
    """The files of the first ``count`` clips of several folders, as many of each."""
    share = -(-count // len(folders))
    return [path for folder in folders for path in sorted(folder.glob("*.safetensors"))[:share]]


def teach(
    teaching: Teaching,
    data: Sequence[Path],
    weights: Path,
    folder: Path,
    on_progress: OnProgress = ignore_progress,
) -> None:
    """Teach all lessons and fit all codebooks; each becomes a folder of weights in ``folder``.

    Raises as ``Trainer.fit`` and ``fit_codebook``. ConfigError comes before anything is taught: where a lesson of the
    same name was made from anything else, or ``data`` are several folders and a codebook is to be fitted.
    """
    if teaching.codebooks and len(data) != 1:
        raise ConfigError(f"a codebook is fitted on one folder of clips, not on {len(data)}", hint="give one --data")
    sources = _sources(teaching, data, weights)
    for lesson in teaching.lessons:
        lesson.cutting(find_model(teaching.model))
        require_made_from(folder / lesson.name, sources[lesson.name])
    for lesson in teaching.lessons:
        if not _result(lesson, folder).exists():
            log.info("lesson %s", lesson.name)
            _teach(teaching, lesson, data, weights, folder / lesson.name, sources[lesson.name], on_progress)
    if teaching.codebooks:
        fit_codebooks(teaching.codebooks, teaching.model, data[0], weights, folder, on_progress)


def require_taught(teaching: Teaching, name: str, folder: Path) -> None:
    """Raise WeightsError where a lesson or codebook is not in ``folder`` yet, ConfigError for one of another recipe."""
    lesson = next((each for each in teaching.lessons if each.name == name), None)
    if lesson is None and name not in teaching.codebooks:
        known = ", ".join([*(each.name for each in teaching.lessons), *teaching.codebooks])
        raise ConfigError(f"nothing teaches {name!r}", hint=f"choose from {known}")
    done = folder / name / LABEL if lesson is None else _result(lesson, folder)
    if not done.exists():
        raise WeightsError(f"{name!r} was not taught yet", hint="python -m enliven.train.ablations")
    recipe = {"settings": repr(teaching.codebooks[name])} if lesson is None else _recipe(teaching, lesson)
    require_made_from(folder / name, recipe)


def learnt(taught: Path, lesson: str) -> dict[int, float]:
    """The loss of a lesson by its step, mean over the last ``LOGGED``; ``taught`` is where its weights lie.

    Lessons draw the same clips and noise in the same step, unless they are cut or told differently.
    """
    return read_curve(_training(taught, lesson), "flow")


def _training(taught: Path, lesson: str) -> Path:
    """The folder of a training, beside that of its weights."""
    return taught / f"{lesson} training"


def _recipe(teaching: Teaching, lesson: Lesson) -> dict[str, str]:
    """All that the recipe of an ablation says of a lesson."""
    return {"settings": repr(replace(teaching, lessons=(), codebooks={})), "lesson": repr(lesson)}


def _sources(teaching: Teaching, data: Sequence[Path], weights: Path) -> dict[str, dict[str, str]]:
    """What each lesson is made from, by their names."""
    if not teaching.lessons:
        return {}
    alike = {
        "clips": digest(first_clips(data, teaching.clips)),
        "weights": fingerprint(load_networks(weights)),
    }
    return {lesson.name: _recipe(teaching, lesson) | alike for lesson in teaching.lessons}


def _result(lesson: Lesson, folder: Path) -> Path:
    """What is there once a lesson was taught."""
    return folder / lesson.name / (LORA if lesson.lora.rank else BACKBONE)


def _teach(
    teaching: Teaching,
    lesson: Lesson,
    data: Sequence[Path],
    weights: Path,
    taught: Path,
    sources: Mapping[str, str],
    on_progress: OnProgress,
) -> None:
    """Everything but the backbone is copied first; a LoRA lies beside the backbone it was taught with.

    Where nothing of it is there, a training that was left beside it may be of anything: it goes.
    """
    spec, leave = find_model(teaching.model), [FILE, LORA] if lesson.lora.rank else [FILE, LORA, BACKBONE]
    network = lesson.beginning(load_network(weights / BACKBONE)).requires_grad_(requires_grad=True)
    batches = TaughtBatches(
        data,
        lesson,
        teaching.clips,
        embed=load_network(weights / "text"),
        cut=lesson.cutting(spec),
        batch=teaching.batch,
        listening=listening(spec, load_network(weights / "audio")),
    )
    batches.look()
    if not (taught / FILE).exists():
        shutil.rmtree(_training(taught.parent, lesson.name), ignore_errors=True)
        note_made_from(taught, sources)
    shutil.copytree(weights, taught, ignore=lambda *_: leave, dirs_exist_ok=True)
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
