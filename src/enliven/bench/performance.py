"""Time and memory of one long generation, measured in a process of its own.

    python -m enliven.bench.performance --seconds 20

generates that much video as ``enliven generate`` would, clip by clip into an H.264 file, and says as JSON how long
everything took and how much memory was used at most.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from enliven.bench.cases import FPS, held_out, long_case
from enliven.bench.talkers import request_for
from enliven.media.video import encode_segment
from enliven.pipeline import AvatarPipeline, GenerateRequest

MODEL = "longcat-toon"


@dataclass(frozen=True, slots=True)
class Performance:
    """``clip_seconds``: the time from one clip to the next; ``peak_mib``: the most memory the process ever had."""

    video_seconds: float
    total_seconds: float
    clip_seconds: tuple[float, ...]
    peak_mib: float

    @property
    def growth(self) -> float:
        """How the last clips' time compares with the first ones': the ratio of the medians of two thirds."""
        clips = self.clip_seconds[1:]  # the first clip waits for everything to be read and encoded
        third = len(clips) // 3
        if not third:
            return 1.0
        return _median(clips[-third:]) / _median(clips[:third])


def perform(pipeline: AvatarPipeline, request: GenerateRequest, folder: Path) -> Performance:
    """Generate a video into ``folder``, one clip in memory at a time."""
    times = [time.perf_counter()]

    def clips() -> Iterator[UInt8[Tensor, "f 3 h w"]]:
        for video in pipeline.stream(request):
            yield video.frames
            times.append(time.perf_counter())

    frames = encode_segment(clips(), FPS, folder / "video.mp4")
    laps = tuple(round(late - early, 4) for early, late in pairwise(times))
    return Performance(frames / FPS, time.perf_counter() - times[0], laps, peak_mib())


def perform_apart(seconds: float, model: str = MODEL) -> Performance:
    """The same in a fresh process, so that its memory is its own."""
    command = [sys.executable, "-m", "enliven.bench.performance", "--seconds", str(seconds), "--model", model]
    values = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    return Performance(**{**values, "clip_seconds": tuple(values["clip_seconds"])})


def peak_mib() -> float:
    """The most memory this process has had. Where Linux tells it, without what its parent had when it began."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _median(values: tuple[float, ...]) -> float:
    return sorted(values)[len(values) // 2]


def main() -> None:
    """Measure, and write JSON to standard output."""
    parser = argparse.ArgumentParser(description="time and memory of one generation, as JSON")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--model", default=MODEL)
    asked = parser.parse_args()
    pipeline = AvatarPipeline.load(asked.model)
    with tempfile.TemporaryDirectory() as folder:
        request = request_for(long_case(held_out(3), asked.seconds), Path(folder), pipeline.spec.size)
        sys.stdout.write(json.dumps(asdict(perform(pipeline, request, Path(folder)))) + "\n")


if __name__ == "__main__":
    main()
