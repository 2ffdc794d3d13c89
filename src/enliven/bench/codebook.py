"""Does the codebook keep a long video from drifting (Soul 3.2), and which radius does it best?

    python -m enliven.bench.codebook --seconds 240

lets one portrait talk for that long: with latents handed over as they are, then with a codebook that leaves 90, 95, 99
and 99.9 % of real latents alone. Every clip is compared with the first one of its video, and all with the drawn truth.
Each video is a run folder in ``--runs``: what was stopped goes on, what is done is not made again, and other weights
have other folders. ``--variants none 99`` makes some of them, so that several processes can share the work.
"""

import argparse
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import UInt8
from torch import Tensor

from enliven.bench.cases import FPS, Case, held_out, long_case
from enliven.bench.codebook_drift import Drift, measure_drift
from enliven.bench.codebook_pictures import drift_plot, drift_sheet
from enliven.bench.report import Check, Section, write_report
from enliven.bench.talkers import Drawn, request_for
from enliven.diffusion.clips import plan_clips
from enliven.errors import ConfigError
from enliven.judges.face import FaceJudge
from enliven.media.video import read_video
from enliven.models.networks import Networks, fingerprint
from enliven.pipeline import AvatarPipeline
from enliven.run import RECORD, read_result, resume, start
from enliven.systems.carry import Carried, Carry, RepairLatents
from enliven.types import LatentClip, OnProgress, Progress

log = logging.getLogger(__name__)

MODEL = "soul-toon"
NONE = "none"
VARIANTS = (NONE, "90", "95", "99", "99.9")
PERCENTILE = 99.0  # watched where nothing is repaired
TENTH = 10
BETWEEN_WORDS = 30.0  # seconds


@dataclass(frozen=True, slots=True)
class OnlyWatch:
    """Latents go over as they are; told is the share that a codebook would have moved."""

    percentile: float = PERCENTILE
    continuous: ClassVar[bool] = True

    def __call__(
        self, clip: LatentClip, frames: UInt8[Tensor, "f 3 height width"], count: int, networks: Networks
    ) -> Carried:
        """The last latents of the clip."""
        return Carried(clip.last(count), RepairLatents(self.percentile)(clip, frames, count, networks).shares)

    def check(self, networks: Networks) -> None:
        """Raise WeightsError where there is no codebook."""
        RepairLatents(self.percentile).check(networks)

    def resolved(self, networks: Networks) -> "OnlyWatch":  # noqa: ARG002
        """Nothing is left to the networks."""
        return self


def carry_of(variant: str) -> Carry:
    """What a variant does between clips. Raises ConfigError for what is none."""
    try:
        return OnlyWatch() if variant == NONE else RepairLatents(float(variant))
    except ValueError as error:
        raise ConfigError(f"{variant!r} is no variant", hint=f"give {NONE}, or a percentile such as 99") from error


def title_of(variant: str) -> str:
    """What a variant is called in the report."""
    return "no codebook" if variant == NONE else f"codebook at {variant} %"


class LongVideos:
    """The videos of one portrait, one for each variant, as run folders that are gone on with."""

    def __init__(self, pipeline: AvatarPipeline, case: Case, runs: Path) -> None:
        carry_of(NONE).check(pipeline.networks)
        self.pipeline, self.case = pipeline, case
        name = f"{pipeline.spec.name}-{fingerprint(pipeline.networks)[:8]}-{case.frames / FPS:g}s"
        self.folder = runs / name
        (self.folder / "inputs").mkdir(parents=True, exist_ok=True)
        self.request = request_for(case, self.folder / "inputs", pipeline.spec.size)

    @property
    def clips(self) -> list[range]:
        """The video frames that each clip adds."""
        spec = self.pipeline.spec
        return [plan.emits for plan in plan_clips(self.case.frames, spec.geometry, spec.arrange, portrait=True)]

    def made(self, variant: str) -> tuple[UInt8[Tensor, "f 3 h w"], tuple[float, ...]]:
        """The video of a variant, and the share of vectors that was clipped, handover by handover."""
        pipeline = self.pipeline.varied(replace(self.pipeline.spec, carry=carry_of(variant)))
        folder, tell = self.folder / variant, told(title_of(variant))
        if (folder / RECORD).exists():
            video = resume(folder, tell, lambda *_, **__: pipeline)
        else:
            video = start(pipeline, self.request, folder, on_progress=tell)
        return read_video(video).frames, read_result(folder).shares.get("clipped", ())


def told(name: str) -> OnProgress:
    """Logs now and then how far it has come, and how long it will take."""
    began: list[tuple[float, float]] = []

    def tell(progress: Progress) -> None:
        now = time.monotonic()
        if not began:
            began.extend([(now, progress.done)] * 2)
        elif now - began[1][0] > BETWEEN_WORDS and progress.done > began[0][1]:
            left = (now - began[0][0]) / (progress.done - began[0][1]) * (progress.total - progress.done)
            log.info("%s: %s, %.0f %%, %.1f minutes left", name, progress.stage, 100 * progress.fraction, left / 60)
            began[1] = (now, progress.done)

    return tell


def checks(drift: Drift, variant: str = "") -> list[Check]:
    """The last tenth of the video; of what is clipped the first tenth as well.

    With a codebook, what is clipped should begin near the share that real latents lose, and stay there.
    """
    late = -max(1, len(drift.colour) // TENTH)
    found = [
        Check("colour, away from the first clip", drift.colour[late:].mean().item(), unit="levels"),
        Check("contrast, away from the first clip", drift.contrast[late:].mean().item(), unit="levels"),
        Check("sharpness, share of the first clip's", drift.sharpness[late:].mean().item()),
        Check("identity, similarity with the first clip", drift.identity[late:].mean().item()),
    ]
    if not len(drift.clipped):
        return found
    early, last = drift.clipped[:-late].mean().item(), drift.clipped[late:].mean().item()
    if variant == NONE:
        return [*found, Check(f"outside the radius of {PERCENTILE:g} %, first tenth", early), Check("last tenth", last)]
    lost = 1 - float(variant) / 100
    return [
        *found,
        Check("clipped, first tenth", early, most=3 * lost),
        Check("clipped, last tenth", last, most=early + lost),
    ]


def drift_report(videos: LongVideos, variants: Sequence[str], output: Path) -> Path:
    """Make what is missing of the videos, measure all, and write the report; returns its Markdown file."""
    return write_report(_parts(videos, variants), output, f"{videos.pipeline.spec.name} codebook")


def _parts(videos: LongVideos, variants: Sequence[str]) -> Iterator[Section]:
    face, clips, shown = FaceJudge(), videos.clips, torch.linspace(0, videos.case.frames - 1, 8).round().long()
    drawn = Drawn()(videos.case)
    drifts, rows = {"drawn truth": measure_drift(drawn, clips, face)}, {"drawn truth": drawn[shown]}
    yield Section("drawn truth", checks(drifts["drawn truth"]), _details(drifts["drawn truth"]))
    for variant in variants:
        title = title_of(variant)
        log.info("%s: %g s", title, videos.case.frames / FPS)
        frames, clipped = videos.made(variant)
        drifts[title], rows[title] = measure_drift(frames, clips, face, clipped), frames[shown]
        yield Section(title, checks(drifts[title], variant), _details(drifts[title]))
    seconds = [clip.start / FPS for clip in clips]
    pictures = {"drift": drift_plot(drifts, seconds), "frames": drift_sheet(rows, (shown / FPS).tolist())}
    yield Section("Over time", [], {"clip starts, seconds": seconds}, pictures)


def _details(drift: Drift) -> Mapping[str, object]:
    return {name: [round(value, 4) for value in getattr(drift, name).tolist()] for name in Drift.__slots__}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--seconds", type=float, default=240.0)
    parser.add_argument("--variants", nargs="+", default=VARIANTS, help=f"{NONE}, or percentiles")
    parser.add_argument("--runs", type=Path, default=Path("runs/drift"), help="where the videos are kept")
    parser.add_argument("--output", type=Path, default=Path("benchmarks"))
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    case = long_case(held_out(3), asked.seconds)
    videos = LongVideos(AvatarPipeline.load(asked.model), case, asked.runs)
    log.info("%s", drift_report(videos, asked.variants, asked.output).read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
