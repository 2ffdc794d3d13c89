"""The toon report: how good the small model is, measured against exact truth.

    python -m enliven.bench.toon --output benchmarks

asks for people and sentences that no network has learnt from, at default settings, and lets the judges look at the
videos. ``--quick`` takes few short clips, ``--only sync,silence`` some parts, ``--drawn`` measures the drawn truth
itself, which must pass everything that does not need a model.
"""

import argparse
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from enliven.bench.cases import FPS, SETTLE, Case, held_out, long_case, recorded_cases
from enliven.bench.fidelity import seams_over_truth
from enliven.bench.measures import best_lag, correlation, lag_curve, loudness, mean_curve
from enliven.bench.performance import MODEL, perform_apart
from enliven.bench.pictures import course_sheet, curves_plot, ends_sheet, truth_sheet
from enliven.bench.report import Check, Section, write_report
from enliven.bench.scenes import moved_cases, scene_changes
from enliven.bench.speakers import several_speakers
from enliven.bench.students import against_teacher
from enliven.bench.talkers import Drawn, Generated, Talker
from enliven.bench.words import described_cases, words_alone
from enliven.errors import ConfigError
from enliven.judges.face import FaceJudge, similarity
from enliven.judges.judge import SIDE
from enliven.judges.motion import body_motion, head_motion
from enliven.judges.quality import QualityJudge
from enliven.models.networks import FULL
from enliven.pipeline import AvatarPipeline
from enliven.runtime.choices import Choices
from enliven.systems import find_model
from enliven.toonworld.voice import SPEECH_RATE

log = logging.getLogger(__name__)

CLOSED = 0.15
SLOWEST = {"soul-toon": 4.0}  # seconds for a second of video, where they may be more than two: four times the pixels
Frames = UInt8[Tensor, "f 3 h w"]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    clips: int = 8
    silent: int = 3
    long_seconds: float = 60.0
    recorded_seconds: float = 12.0
    memory_seconds: tuple[float, float] = (20.0, 300.0)
    pairs: int = 3
    trios: int = 2
    moved: int = 3
    moved_seconds: float = 12.0
    described: int = 12
    described_seconds: float = 1.6
    speech: Path | None = None
    recordings: tuple[Path, ...] = ()


QUICK = Plan(
    clips=2,
    silent=1,
    long_seconds=8.0,
    recorded_seconds=6.0,
    memory_seconds=(5.0, 15.0),
    pairs=1,
    trios=1,
    moved=1,
    moved_seconds=8.0,
    described=2,
)


class Bench:
    """The parts of the report for one talker; videos that several parts look at are made once.

    ``patch`` is the side in pixels of what a token of its backbone shows.
    """

    def __init__(self, talker: Talker, plan: Plan, patch: int) -> None:
        self.talker, self.plan, self.patch = talker, plan, patch
        self.cases = held_out(plan.clips, plan.speech)
        self.face, self.quality = FaceJudge(), QualityJudge()
        self._made: dict[str, Frames] = {}

    def made(self, case: Case) -> Frames:
        """The talker's video of a case."""
        key = f"{case.seed} {case.name}"
        if key not in self._made:
            log.info("making %s: %.1f s", key, case.frames / FPS)
            frames = self.talker(case)
            if len(frames) != case.frames:
                raise ValueError(f"{case.name} has {len(frames)} frames, not {case.frames}")
            self._made[key] = frames
        return self._made[key]

    def opening(self, case: Case) -> Float[Tensor, "f"]:
        """How far the mouth is open in each made frame."""
        return self.face(self.made(case))["mouth_open"]

    def sync(self) -> Section:
        """Does the mouth say what is heard, when it is heard?"""
        seen = [self.opening(case) for case in self.cases]
        truth = [case.state.mouth_open for case in self.cases]
        curves = [lag_curve(t[SETTLE:], s[SETTLE:]) for t, s in zip(truth, seen, strict=True)]
        curve, wrong = mean_curve(curves), _others(truth, seen)
        names = [f"{case.seed} {case.name}" for case in self.cases]
        rows = {n: {"true": t, "made": s} for n, t, s in zip(names, truth, seen, strict=True)}
        sheets = {f"clip-{i + 1}": truth_sheet(case, self.made(case)) for i, case in enumerate(self.cases[:4])}
        sheets["motion"] = course_sheet(f"{names[0]}, frame by frame", self.made(self.cases[0]))
        return Section(
            "Lip sync",
            [
                Check("mouth opening, correlation with truth", curve[0], least=0.8),
                Check("the same with the audio of another clip", wrong, most=0.2),
                Check("best lag", best_lag(curve), least=-1, most=1, unit="frames"),
                Check("worst clip's correlation", min(each[0] for each in curves)),
            ],
            {"lags": curve, "clips": {n: each[0] for n, each in zip(names, curves, strict=True)}},
            {"opening": curves_plot(rows), **sheets},
        )

    def clean(self) -> Section:
        """Is the drawing whole?"""
        verdicts = [self.quality(self.made(case)) for case in self.cases]
        face = [verdict["clean_face"] > 0.5 for verdict in verdicts]
        frame = torch.cat([verdict["clean_frame"] > 0.5 for verdict in verdicts])
        height, width = self.made(self.cases[0]).shape[2:]
        seams = fmean(seams_over_truth(case, self.made(case), self.patch) for case in self.cases)
        return Section(
            "Clean drawing",
            [
                Check("face region: frames judged clean", torch.cat(face).float().mean().item(), least=0.9),
                Check("whole frame: frames judged clean", frame.float().mean().item()),
                Check("seams of patches, times those of the drawn truth", seams),
            ],
            {"clips": [clean.float().mean().item() for clean in face]},
            note=f"frames are judged at {SIDE} x {SIDE}; seams every {self.patch} pixels of {width} x {height}",
        )

    def silence(self) -> Section:
        """Does a person who says nothing keep the mouth shut and stay alive?"""
        speaking = self.cases[: self.plan.silent]
        quiet = [case.silent() for case in speaking]
        opening = torch.cat([self.opening(case)[SETTLE:] for case in quiet])
        motion = [[self._motion(case) for case in cases] for cases in (quiet, speaking)]
        head, body = (sum(m[i] for m in motion[0]) / sum(m[i] for m in motion[1]) for i in (0, 1))
        return Section(
            "Silence",
            [
                Check("mouth opening, mean", opening.mean().item(), most=0.08),
                Check("frames with a closed mouth", (opening < CLOSED).float().mean().item(), least=0.95),
                Check("head motion, share of that under speech", head, least=0.6),
                Check("body motion, share of that under speech", body, least=0.6),
            ],
            {"motion [head, body]": {"silent": motion[0], "speaking": motion[1]}},
            {"silence": truth_sheet(quiet[0], self.made(quiet[0]))},
        )

    def identity(self) -> Section:
        """Is it still the same person after a minute?"""
        case = long_case(self.cases, self.plan.long_seconds)
        frames, last = self.made(case), slice(case.frames - int(FPS), case.frames)
        portrait = self.face(case.portrait[None])["identity"][0]
        kept = similarity(self.face(frames[last])["identity"], portrait).mean().item()
        true = similarity(self.face(case.drawn(last))["identity"], portrait).mean().item()
        clean = (self.quality(frames[last])["clean_face"] > 0.5).float().mean().item()
        return Section(
            "Identity",
            [
                Check("similarity kept, last second, share of true renderings'", kept / true, least=0.9),
                Check("last second: faces judged clean", clean),
            ],
            {"portrait to last second": kept, "portrait to true rendering": true, "seconds": self.plan.long_seconds},
            {"long": ends_sheet(case, frames)},
        )

    def recordings(self) -> Section:
        """Does it follow real voices?"""
        checks, rows = list[Check](), dict[str, dict[str, Tensor]]()
        for case in recorded_cases(self.plan.recordings, self.plan.recorded_seconds):
            heard, seen = loudness(case.speech.samples, SPEECH_RATE, case.frames, FPS), self.opening(case)
            curve = lag_curve(heard[SETTLE:], seen[SETTLE:])
            lag = best_lag(curve)
            checks += [
                Check(f"{case.name}: opening and envelope, correlation", curve[lag], least=0.5),
                Check(f"{case.name}: best lag", lag, least=-2, most=2, unit="frames"),
            ]
            rows[case.name] = {"loudness": heard / heard.max().clamp(min=1e-6), "made": seen}
        return Section("Recorded voices", checks, pictures={"recorded": curves_plot(rows)} if rows else {})

    def speakers(self) -> Section:
        """Does the right mouth of several move?"""
        speech = [case.speech for case in self.cases]
        return several_speakers(self.talker, speech, {2: self.plan.pairs, 3: self.plan.trios})

    def scenes(self) -> Section:
        """Does somebody go where a later prompt asks?"""
        return scene_changes(self.talker, moved_cases(self.cases, self.plan.moved, self.plan.moved_seconds))

    def words(self) -> Section:
        """Does somebody without a portrait look as the caption says?"""
        cases = described_cases(self.cases, self.plan.described, self.plan.described_seconds)
        return words_alone(self.talker, cases, self.patch)

    def _motion(self, case: Case) -> tuple[float, float]:
        frames = self.made(case)
        return head_motion(self.face(frames)), body_motion(frames)


def performance(plan: Plan, model: str) -> Section:
    """How fast, and does length cost memory?"""
    short, long = (perform_apart(seconds, model) for seconds in plan.memory_seconds)
    return Section(
        "Speed and memory",
        [
            Check(
                "seconds for a second of video", short.total_seconds / short.video_seconds, most=SLOWEST.get(model, 2.0)
            ),
            Check(
                f"peak memory, {long.video_seconds:g} s over {short.video_seconds:g} s",
                long.peak_mib / short.peak_mib,
                most=1.05,
            ),
            Check("time for a clip, late over early", long.growth, most=1.1),
            Check("peak memory", long.peak_mib, unit="MiB"),
        ],
        {
            "threads": torch.get_num_threads(),
            "clip seconds": long.clip_seconds,
            "peak MiB": [short.peak_mib, long.peak_mib],
        },
    )


def decoding(plan: Plan, model: str) -> Section:
    """How fast does each decoder of a model paint, and does length cost it memory?"""
    checks, peaks = list[Check](), dict[str, list[float]]()
    for name in (FULL, *find_model(model).params.decoders):
        short, long = (perform_apart(seconds, model, decoder=name, decodes=True) for seconds in plan.memory_seconds)
        told = f"{name}: peak memory, {long.video_seconds:.0f} s over {short.video_seconds:.0f} s"
        checks += [
            Check(f"{name}: seconds for a second of video", long.total_seconds / long.video_seconds),
            Check(told, long.peak_mib / short.peak_mib, most=1.05),
        ]
        peaks[name] = [short.peak_mib, long.peak_mib]
    return Section("Decoding alone", checks, {"threads": torch.get_num_threads(), "peak MiB": peaks})


def _others(truth: Sequence[Tensor], seen: Sequence[Tensor]) -> float:
    """The mean correlation of every mouth with the truth of every other sentence; NaN where there is no other."""
    found = []
    for one in truth:
        for said, other in zip(truth, seen, strict=True):
            if not torch.equal(one, said):
                count = min(len(one), len(other))
                found.append(correlation(one[SETTLE:count], other[SETTLE:count]))
    return sum(found) / len(found) if found else math.nan


def toon_report(
    folder: Path,
    plan: Plan | None = None,
    *,
    only: Sequence[str] = (),
    model: str = MODEL,
    weights: Path | None = None,
    drawn: bool = False,
) -> Path:
    """Measure and write the report; returns its Markdown file. ConfigError for a part that does not exist.

    Speed is measured with the weights that the model has, and not those of ``weights``.
    """
    plan = plan or Plan()
    pipeline = None if drawn else AvatarPipeline.load(model, Choices(weights=weights))
    params = find_model(model).params
    patch = params.autoencoder.spatial_factor * params.backbone.patch_size[-1]
    bench = Bench(Generated(pipeline) if pipeline else Drawn(), plan, patch)
    parts: dict[str, Callable[[], Section]] = {
        "sync": bench.sync,
        "clean": bench.clean,
        "silence": bench.silence,
        "identity": bench.identity,
        "words": bench.words,
    }
    if pipeline is None or pipeline.spec.voices != 1:
        parts["speakers"] = bench.speakers
    if pipeline is None or pipeline.spec.geometry.pivot:
        parts["scenes"] = bench.scenes
    if plan.recordings and not drawn:
        parts["recordings"] = bench.recordings
    if pipeline and pipeline.spec.teacher:
        parts["teacher"] = lambda: against_teacher(pipeline, bench.cases[0])
    if not drawn:
        parts["performance"] = lambda: performance(plan, model)
        parts["decoding"] = lambda: decoding(plan, model)
    unknown = set(only) - set(parts)
    if unknown:
        raise ConfigError(f"no part is called {', '.join(sorted(unknown))}", hint=f"choose from {', '.join(parts)}")

    def measured() -> Iterator[Section]:
        for name, measure in parts.items():
            if not only or name in only:
                log.info("measuring %s", name)
                yield measure()

    return write_report(measured(), folder, bench.talker.name)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("benchmarks"))
    parser.add_argument("--quick", action="store_true", help="few short clips")
    parser.add_argument("--only", default="", help="parts, separated by commas")
    parser.add_argument("--drawn", action="store_true", help="measure the drawn truth instead of a model")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--weights", type=Path, help="a folder of weights to measure instead of those of the model")
    parser.add_argument("--clips", type=int, help="how many held-out clips")
    parser.add_argument("--speech", type=Path, help="a folder of held-out .flac with .json; shipped sentences if none")
    parser.add_argument("--real", type=Path, nargs="*", default=(), help="recordings of people")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    base = QUICK if asked.quick else Plan()
    plan = replace(base, clips=asked.clips or base.clips, speech=asked.speech, recordings=tuple(asked.real))
    only = [name for name in asked.only.split(",") if name]
    page = toon_report(asked.output, plan, only=only, model=asked.model, weights=asked.weights, drawn=asked.drawn)
    log.info("%s", page.read_text())


if __name__ == "__main__":
    main()
