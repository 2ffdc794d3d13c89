from dataclasses import replace
from pathlib import Path

import pytest

from bench_cases import case
from enliven.bench import performance
from enliven.bench.cases import held_out
from enliven.bench.performance import (
    Performance,
    decode_only,
    peak_mib,
    perform,
    perform_apart,
    untrained_decoder,
)
from enliven.bench.talkers import request_for
from enliven.errors import RequestError
from enliven.pipeline import AvatarPipeline
from tiny import tiny_networks, tiny_soul, tiny_soul_networks, tiny_spec


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


def test_memory_of_a_streamed_decoder_does_not_depend_on_length() -> None:
    spec = tiny_soul(size=(64, 64))
    decode_only(spec, "efficient", 1.0)  # what is loaded and kept once
    short = decode_only(spec, "efficient", 0.5).peak_mib
    long = decode_only(spec, "efficient", 20.0)
    assert long.video_seconds >= 20
    assert len(long.clip_seconds) > 50
    whole = 20 * 25 * 3 * 64 * 64 * 4 / 2**20  # float pixels of the whole video
    assert long.peak_mib - short < whole / 2


def test_a_decoder_is_chosen_by_name(tmp_path: Path) -> None:
    spec = tiny_soul()
    wide, narrow = (untrained_decoder(spec, name) for name in ("full", "efficient"))
    assert sum(p.numel() for p in narrow.parameters()) < sum(p.numel() for p in wide.parameters())
    with pytest.raises(RequestError, match="tiny-soul has no decoder 'fast'"):
        untrained_decoder(spec, "fast")
    pipeline = AvatarPipeline(spec, tiny_soul_networks())
    request = replace(request_for(case(1.0), tmp_path, spec.size), decoder="efficient")
    assert perform(pipeline, request, tmp_path).video_seconds == 1.0


def test_what_is_measured_apart_is_given_files_and_draws_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert perform_apart(0.4).video_seconds == 0.4
    options = performance._given(0.4, performance.MODEL, tmp_path)
    monkeypatch.delattr(performance, "request_for")  # what draws
    asked = performance._asked(["--seconds", "0.4", *options])
    assert asked.seed == held_out(1)[0].seed
    assert performance._measured(asked).video_seconds == 0.4
    with pytest.raises(SystemExit):
        performance._asked(options[:2])
