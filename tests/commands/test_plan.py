"""The estimate of a dry run."""

from pathlib import Path

import pytest

from enliven.commands.plan import MOST_CLIPS, describe, estimate
from enliven.pipeline import AvatarPipeline
from enliven.request import GenerateRequest


def test_a_long_plan_is_cut_short_and_counts_what_it_leaves_out(here: Path) -> None:
    lines = describe(AvatarPipeline.load("tiny"), GenerateRequest(seconds=8.0, steps=1))
    clips = 1 + -(-(200 - 17) // 12)
    assert f"clips   {clips}" in lines
    assert f"  and {clips - MOST_CLIPS} more" in lines


def test_the_estimate_grows_with_clips_and_steps(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = AvatarPipeline.load("tiny")
    moments = iter([0.0, 9.0, 10.0, 13.0, 20.0, 25.0])  # warming up; one step in 3 seconds; two steps in 5
    monkeypatch.setattr("enliven.commands.plan.time.perf_counter", lambda: next(moments))
    request = GenerateRequest(seconds=1.0, steps=5)
    spec = request.apply(pipeline.spec)
    assert estimate(pipeline, spec, pipeline.encode(request, spec), seed=0) == 2 * (3.0 + 4 * 2.0)
