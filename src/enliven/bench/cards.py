"""Model cards of the weights that ship: their files, how they were taught, what was measured, what they cannot do.

    python -m enliven.bench.cards

writes ``README.md`` beside the weights of every model, and of the judges. Sizes are read from the files, numbers from
``benchmarks``, recipes from ``examples``; nothing is typed in. Every new report does the same; run it when anything
else changes.
"""

import argparse
import json
import logging
import subprocess
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from math import prod
from pathlib import Path
from typing import Any

from enliven.bench.judge_notes import JudgeNote, find_notes
from enliven.judges.face import FaceJudge
from enliven.judges.quality import QualityJudge
from enliven.media.storage import replacing
from enliven.models.layered import read_label
from enliven.models.stored import read_headers
from enliven.systems import MODELS
from enliven.systems.spec import PACKAGED, ModelSpec
from enliven.train.student import StudentRecipe

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[3]
BENCHMARKS = "benchmarks"
CARD = "README.md"
JUDGES = "judges"  # the folder of their weights
LICENCE = "Apache-2.0"
DATA = (
    "Drawn people only: every picture, movement and caption comes from `enliven.toonworld`, and every voice is "
    "synthetic; no photograph, recording of a person or published data set is in it."
)
JUDGED = (
    "`python -m enliven.train.judging FOLDER` draws people in several poses, half of them seen through the autoencoder "
    "of `longcat-toon`, spoils some of the pictures and teaches the judges; what is true of each is known exactly. "
    "`python -m enliven.train.examining` asks them about people they have never seen."
)
LESSONS = {"imitating": "imitation", "minutes": "matching"}  # of a student
UNSAID = {each.name: each.default for each in fields(StudentRecipe)}  # what holds where a recipe says nothing
OF_LESSONS = {"imitating": ("imitation_rate",), "minutes": ("student_rate", "critic_rate", "ratio")}
LIMITS = (
    "It knows the drawn world; a photograph is outside it.",
    "It was taught with synthetic voices; recorded ones are followed less well, where they were measured.",
    "It shows a mechanism in small. It is not the published model of the paper, nor a measure of its quality.",
)


@dataclass(frozen=True, slots=True)
class Report:
    """A benchmark as ``enliven.bench.report`` wrote it."""

    path: Path
    data: Mapping[str, Any]

    @property
    def about(self) -> Mapping[str, str]:
        """What was measured, when, how, and on what."""
        return self.data["about"]

    def checks(self) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
        """Part, name and numbers of every check."""
        for part, values in self.data["parts"].items():
            for name, check in values["checks"].items():
                yield part, name, check


def shipped(weights: Path = PACKAGED) -> list[ModelSpec]:
    """The models whose weights are in the package."""
    return [spec for spec in MODELS.values() if (weights / spec.name).is_dir()]


def find_reports(name: str, benchmarks: Path) -> list[Report]:
    """The newest report on a model in ``benchmarks``, and in each folder there."""
    found = []
    for folder in [benchmarks, *sorted(path for path in benchmarks.iterdir() if path.is_dir())]:
        dated = sorted(folder.glob(f"????-??-??-{name}.json"))
        if dated:
            found.append(Report(dated[-1], json.loads(dated[-1].read_text(encoding="utf-8"))))
    return found


def find_recipe(name: str, examples: Path) -> tuple[Path, Mapping[str, Any]] | None:
    """The recipe that makes a model: the one whose weights go into a folder of that name."""
    for path in sorted(examples.glob("*.toml")):
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        if values.get("model") == name and Path(values.get("weights", "")).name == name:
            return path, values
    return None


def card(spec: ModelSpec, folder: Path, root: Path = ROOT) -> str:
    """The card of a model whose weights are in ``folder``; ``root`` is that of the repository."""
    reports = find_reports(spec.name, root / BENCHMARKS)
    lines = [f"# {spec.name}", "", f"{spec.summary[0].upper()}{spec.summary[1:]}."]
    lines += [*_networks(spec, folder), *_teaching(spec, folder, root)]
    for report in reports:
        lines += _measured(report, folder, root)
    if not reports:
        lines += ["", "## Measured", "", "Nothing yet: there is no report on these weights in `benchmarks/`."]
    return "\n".join([*lines, *_limits(spec, reports), "", "## Licence", "", f"{LICENCE}, as the code."]) + "\n"


def judges_card(folder: Path, root: Path = ROOT) -> str:
    """The card of the judges whose weights are in ``folder``; ``root`` is that of the repository."""
    notes = find_notes(root / BENCHMARKS)
    lines = ["# Judges of the toon world", "", "They look at the frames of a finished video, each by itself.", ""]
    lines += [f"- `{judge.name}`: {_first_sentence(judge)}" for judge in (FaceJudge, QualityJudge)]
    lines += [*_files(folder), "", "## Data and recipe", "", DATA, "", JUDGED]
    for note in notes:
        lines += ["", f"`{note.judge}`: {note.teaching}"]
    lines += ["", f"These weights came with commit {_changed(folder, root) or 'unknown'}."]
    for note in notes:
        lines += _noted(note, folder, root)
    limits = [
        "",
        "## Limits",
        "",
        f"- {LIMITS[0]}",
        "- What each of them takes for what it is not is told in its note.",
    ]
    return "\n".join([*lines, *limits, "", "## Licence", "", f"{LICENCE}, as the code."]) + "\n"


def title_row(title: str, note: str = "") -> str:
    """The row of a table above the checks of a part, with a note on how they were made."""
    return f"| **{title}** ({note}) | | | |" if note else f"| **{title}** | | | |"


def write_cards(weights: Path = PACKAGED, root: Path = ROOT) -> list[Path]:
    """Write the cards of the models and judges that ship; returns their files. Raises StorageError."""
    texts = {weights / spec.name / CARD: card(spec, weights / spec.name, root) for spec in shipped(weights)}
    if (weights / JUDGES).is_dir():
        texts[weights / JUDGES / CARD] = judges_card(weights / JUDGES, root)
    for place, text in texts.items():
        with replacing(place) as part:
            part.write_text(text, encoding="utf-8")
    return list(texts)


def refresh_cards(folder: Path, weights: Path = PACKAGED, root: Path = ROOT) -> list[Path]:
    """Write the cards after a report in ``folder``, where they tell of it; returns their files. Raises StorageError."""
    told = (root / BENCHMARKS).resolve()
    return write_cards(weights, root) if told in (folder.resolve(), folder.resolve().parent) else []


def _networks(spec: ModelSpec, folder: Path) -> list[str]:
    label, lines = read_label(folder), _files(folder)
    if label is not None:
        lines += ["", f"What is not here is that of `{Path(label.over).name}`, over which this folder lies."]
    tall, wide = spec.size
    return [
        *lines,
        "",
        f"Videos are {wide} x {tall} at {spec.geometry.fps} frames a second, made in {spec.steps} steps.",
    ]


def _files(folder: Path) -> list[str]:
    lines = ["", "## Networks", "", "| network | weights | file | MiB |", "|---|---|---|---|"]
    for path in sorted(folder.rglob("*.safetensors")):
        inside = path.relative_to(folder)
        weights = sum(prod(entry.shape) for entry in read_headers([path]).values())
        name = inside.parent.as_posix() if inside.parent.name else inside.stem
        lines.append(f"| {name} | {weights / 1e6:.2f} M | `{inside.as_posix()}` | {path.stat().st_size / 2**20:.1f} |")
    others = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if _tells(path)]
    return lines + (["", f"Beside them: {', '.join(f'`{name}`' for name in others)}."] if others else [])


def _first_sentence(judge: type) -> str:
    sentence = (judge.__doc__ or "").split("\n\n")[0]
    return sentence[0].lower() + sentence[1:]


def _tells(path: Path) -> bool:
    return path.is_file() and path.suffix != ".safetensors" and path.name != CARD


def _teaching(spec: ModelSpec, folder: Path, root: Path) -> list[str]:
    lines = ["", "## Data and recipe", "", DATA]
    found = find_recipe(spec.name, root / "examples")
    if found is not None:
        path, values = found
        command = "distill" if spec.teacher else "train"
        lines += ["", f"`enliven {command} {path.relative_to(root).as_posix()}`, as the recipe stands now:", ""]
        lines += [*_stages(values), *_clips(values), *_mixed(values)]
        left_out = {
            name
            for lesson, settings in OF_LESSONS.items()
            if not values.get(lesson, UNSAID[lesson])
            for name in settings
        }
        told = {name: each for name, each in values.items() if name not in LESSONS.keys() | left_out}
        plain = {name: each for name, each in told.items() if isinstance(each, int | float)}
        lines += [f"- {name}: {each:g}" for name, each in plain.items()]
        lines += [
            "",
            "What ships was made by these stages in several runs; [the log](../../../../docs/log.md) tells them.",
        ]
    if spec.teacher:
        lines += ["", f"Its teacher is `{spec.teacher}`."]
    return [*lines, "", f"These weights came with commit {_changed(folder, root) or 'unknown'}."]


def _stages(recipe: Mapping[str, Any]) -> list[str]:
    """How long each stage learns, or each lesson of a student; those that are left out are not told."""
    minutes = {name: each.get("minutes", 0) for name, each in recipe.items() if isinstance(each, Mapping)}
    minutes |= {told: recipe.get(name, 0) for name, told in LESSONS.items()}
    return [f"- {name}: {each:g} minutes" for name, each in minutes.items() if each]


def _clips(recipe: Mapping[str, Any]) -> list[str]:
    """Of how many people the clips are that a student learns from, and how often they come."""
    clips = recipe.get("clips")
    people = {1: "one person", 2: "two people", 3: "three people"}
    tables = clips if isinstance(clips, list) else []
    return [f"- clips of {people[each.get('people', 1)]}: {each.get('share', 1):.0%} of the batches" for each in tables]


def _mixed(recipe: Mapping[str, Any]) -> list[str]:
    """What comes among the batches of a backbone: tables of a recipe that are no stages."""
    tables = {name: each for name, each in recipe.items() if isinstance(each, Mapping) and "minutes" not in each}
    return [f"- {name}: {', '.join(f'{key} {value}' for key, value in each.items())}" for name, each in tables.items()]


def _measured(report: Report, folder: Path, root: Path) -> list[str]:
    about, path = report.about, report.path.relative_to(root).as_posix()
    lines = ["", f"## Measured on {about['date']}", "", f"[`{path}`](../../../../{path})", ""]
    lines += [f"- {name}: {about[name]}" for name in ("command", "commit", "hardware") if name in about]
    if _changed(folder, root, since=about["commit"]):
        lines += ["- **The weights changed after this was measured.**"]
    lines += ["", "| measure | value | target | |", "|---|---|---|---|"]
    title = ""
    for part, name, check in report.checks():
        if part != title:
            lines.append(title_row(part, report.data["parts"][part].get("note", "")))
            title = part
        value = f"{check['value']} {check['unit']}".strip()
        lines.append(f"| {name} | {value} | {check['target']} | {_mark(check)} |")
    return lines


def _noted(note: JudgeNote, folder: Path, root: Path) -> list[str]:
    path = note.path.relative_to(root).as_posix()
    lines = ["", f"## `{note.judge}`, measured on {note.date}", "", f"[`{path}`](../../../../{path})"]
    if note.commit and _changed(folder / f"{note.judge}.safetensors", root, since=note.commit):
        lines += ["", "**The weights changed after this was measured.**"]
    for table in note.tables():
        lines += ["", *table]
    return lines


def _limits(spec: ModelSpec, reports: Sequence[Report]) -> list[str]:
    missed = [name for report in reports for _, name, check in report.checks() if not check["passed"]]
    lines = ["", "## Limits", "", *(f"- {each}" for each in LIMITS)]
    if spec.voices == 1:
        lines.append("- It hears one voice.")
    return lines + ([f"- Targets that were missed: {'; '.join(missed)}."] if missed else [])


def _mark(check: Mapping[str, Any]) -> str:
    return "" if not check["target"] else "pass" if check["passed"] else "**fail**"


def _changed(folder: Path, root: Path, since: str = "") -> str:
    """The last commit that changed weights, after that of ``since``; empty where there is none, or no history."""
    span = [f"{since.removesuffix('-dirty')}..HEAD"] if since else []
    command = [
        "git",
        "-C",
        str(root),
        "log",
        "-1",
        "--format=%h",
        *span,
        "--",
        str(folder),
        ":(exclude)*.md",
        ":(exclude)*.json",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for path in write_cards():
        log.info("%s", path)


if __name__ == "__main__":
    main()
