"""The ablations of both papers: what a part does is seen where it is taken away.

    python -m enliven.bench.ablations
    python -m enliven.bench.ablations reference stitching --output docs/ablations

makes the videos of the named ablations of ``examples/ablations`` (all, when none is named), measures them and writes a
page for each. Videos and measurements are kept in ``--runs``: what was stopped goes on, what is done is not made again.
Ablations that need weights of their own wait until ``python -m enliven.train.ablations`` has taught them; what is not
here is left out, and the page says so.
"""

import argparse
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path

import torch

from enliven.bench import ablation_measures
from enliven.bench.ablation_cases import CASES
from enliven.bench.ablation_index import write_index
from enliven.bench.ablation_measures import LOOKS, Observed
from enliven.bench.ablation_page import write_page
from enliven.bench.ablation_pictures import Result
from enliven.bench.ablation_recipe import Ablation, Variant, read_ablation
from enliven.bench.ablation_videos import Load, Made, Videos, kept
from enliven.bench.cases import Case
from enliven.errors import ConfigError, RequestError, WeightsError
from enliven.pipeline import AvatarPipeline
from enliven.train.ablations import Teaching, learnt, read_teaching, require_taught

log = logging.getLogger(__name__)

FILES = Path("examples/ablations")
RUNS = Path("runs/ablations")
BENCHMARKS = Path("benchmarks")
SHOWN = 8  # frames of a variant


def measure(ablation: Ablation, variant: Variant, cases: Sequence[Case], work: Path, load: Load) -> Result:
    """Make the videos of a variant, and look at them. Raises RequestError and WeightsError for what is not here."""
    videos = Videos(ablation, variant, work / "videos", work / "taught", load)
    cost = videos.cost(cases[0]).measures if ablation.costs else {}
    losses = learnt(work / "taught", variant.taught) if ablation.losses and variant.taught else {}
    made = [videos.made(case) for case in cases]
    times = torch.linspace(0, len(made[0].frames) - 1, SHOWN).round().long()
    return Result([_observed(ablation.looks, each) for each in made], made[0].frames[times], cost, losses)


def run_ablation(
    name: str, ablation: Ablation, runs: Path, output: Path, teaching: Teaching | None = None
) -> Path | None:
    """Measure an ablation and write its page; None where fewer than two of its variants are here.

    Raises ConfigError where what is here was taught otherwise than ``teaching`` says.
    """
    missing = _not_taught(ablation, teaching, runs / name / "taught")
    cases = CASES[ablation.shows](ablation.people, ablation.seconds)
    results = dict[str, Result]()
    load = cache(AvatarPipeline.load)  # variants share their networks, also where others are shipped meanwhile
    for variant in ablation.variants:
        if variant.name in missing:
            continue
        log.info("%s: %s", name, variant.name)
        try:
            results[variant.name] = measure(ablation, variant, cases, runs / name, load)
        except (RequestError, WeightsError) as error:
            log.warning("%s is left out: %s", variant.name, error)
            missing[variant.name] = str(error).partition(";")[0]
    if len(results) < 2:
        log.warning("%s: nothing to compare yet", name)
        return None
    return write_page(name, ablation, results, missing, output)


def _not_taught(ablation: Ablation, teaching: Teaching | None, taught: Path) -> dict[str, str]:
    """What is missing of variants whose lessons were not taught yet, by their names."""
    missing = dict[str, str]()
    for variant in ablation.variants:
        if teaching is not None and variant.taught:
            try:
                require_taught(teaching, variant.taught, taught)
            except WeightsError as error:
                log.warning("%s is left out: %s", variant.name, error)
                missing[variant.name] = str(error)
    return missing


def found(names: Sequence[str], files: Path) -> dict[str, Ablation]:
    """The named ablations in a folder, or all. Raises ConfigError for one that is not there."""
    known = {path.stem: path for path in sorted(files.glob("*.toml"))}
    for name in names:
        if name not in known:
            raise ConfigError(f"there is no ablation {name!r} in {files}", hint=f"choose from {', '.join(known)}")
    return {name: read_ablation(known[name]) for name in names or known}


def _observed(looks: str, made: Made) -> Observed:
    """Looked at once, and again where the measures have changed since."""
    if looks not in LOOKS:
        raise ConfigError(f"there is no set of measures {looks!r}", hint=f"choose from {', '.join(LOOKS)}")
    state = hashlib.sha256(Path(ablation_measures.__file__).read_bytes()).hexdigest()[:8]
    return Observed(**kept(made.folder / f"{looks}-{state}.json", lambda: asdict(LOOKS[looks](made))))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="ablations; all, when none is named")
    parser.add_argument("--files", type=Path, default=FILES, help="the folder of their TOML files")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where videos and measurements are kept")
    parser.add_argument("--output", type=Path, default=Path("docs/ablations"))
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    for name, ablation in found(asked.names, asked.files).items():
        page = run_ablation(name, ablation, asked.runs, asked.output, read_teaching(asked.files / f"{name}.toml"))
        log.info("%s", page.read_text(encoding="utf-8") if page else "")
    write_index(asked.output, {name: each.title for name, each in found([], asked.files).items()}, BENCHMARKS)


if __name__ == "__main__":
    main()
