from pathlib import Path

from bench_cases import case
from enliven.bench.performance import Performance, peak_mib, perform
from enliven.bench.talkers import request_for
from enliven.pipeline import AvatarPipeline
from tiny import tiny_networks, tiny_spec


def test_every_clip_is_timed(tmp_path: Path) -> None:
    pipeline = AvatarPipeline(tiny_spec(), tiny_networks())
    seen = perform(pipeline, request_for(case(2.0), tmp_path, pipeline.spec.size), tmp_path)
    assert seen.video_seconds == 2.0
    assert len(seen.clip_seconds) == 4
    assert 0 < sum(seen.clip_seconds) <= seen.total_seconds
    assert (tmp_path / "video.mp4").stat().st_size > 0


def test_growth_compares_late_clips_with_early_ones() -> None:
    def growth(*clips: float) -> float:
        return Performance(1.0, 1.0, clips, 1.0).growth

    assert growth(9.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0) == 1
    assert growth(9.0, 1.0, 1.0, 2.0, 2.0, 3.0, 3.0) == 3
    assert growth(9.0, 1.0) == 1


def test_the_peak_never_falls() -> None:
    before = peak_mib()
    ballast = bytearray(64 * 2**20)
    ballast[::4096] = b"x" * len(ballast[::4096])
    high = peak_mib()
    del ballast
    slack = 1.0  # kernels count in batches, a processor each
    assert high >= before - slack
    assert peak_mib() >= high - slack
    assert high > 50
