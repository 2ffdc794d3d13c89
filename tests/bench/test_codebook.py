import json
import logging
from pathlib import Path

import pytest
import torch

from bench_cases import case
from enliven.bench import codebook as module
from enliven.bench.codebook import LongVideos, OnlyWatch, carry_of, checks, drift_report, told
from enliven.bench.codebook_drift import Drift
from enliven.errors import ConfigError, WeightsError
from enliven.pipeline import AvatarPipeline
from enliven.runtime.choices import Choices
from enliven.runtime.memory import MemoryPlan
from enliven.systems.carry import RepairLatents
from enliven.systems.execution import Execution
from enliven.types import LatentClip, Progress
from tiny import tiny_networks, tiny_soul, tiny_soul_networks, tiny_spec


def drift(clipped: list[float], clips: int = 20) -> Drift:
    ones = torch.ones(clips)
    return Drift(ones, ones, ones, ones, torch.tensor(clipped))


def videos(tmp_path: Path) -> LongVideos:
    return LongVideos(AvatarPipeline(tiny_soul(), tiny_soul_networks()), case(0.8), tmp_path / "runs")


def test_watching_changes_nothing_and_tells_what_a_repair_would() -> None:
    networks, layout = tiny_soul_networks(), tiny_soul().arrange(frames=4, context=2, reference=True)
    clip = LatentClip(torch.randn(1, 4, 5, 8, 8, generator=torch.Generator().manual_seed(0)), layout)
    frames = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    watched = OnlyWatch(95.0)(clip, frames, 2, networks)
    repaired = RepairLatents(95.0)(clip, frames, 2, networks)
    assert torch.equal(watched.context, clip.last(2))
    assert watched.shares == repaired.shares
    assert 0 < watched.shares["clipped"] < 1


def test_every_variant_is_made_once_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = videos(tmp_path)
    page = drift_report(made, ["none", "50"], tmp_path / "out")
    data = json.loads(page.with_suffix(".json").read_text())
    assert list(data["parts"]) == ["drawn truth", "no codebook", "codebook at 50 %", "Over time"]
    none, half = (data["parts"][name]["details"]["clipped"] for name in ("no codebook", "codebook at 50 %"))
    assert len(made.clips) - 1 == len(none) == len(half) > 0
    assert half[0] > none[0]
    assert {path.name.split("codebook-")[1] for path in page.parent.glob("*.png")} == {"drift.png", "frames.png"}
    monkeypatch.setattr(module, "start", lambda *_, **__: pytest.fail("made again"))
    drift_report(videos(tmp_path), ["none", "50"], tmp_path / "out")


def test_videos_run_as_the_model_was_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how = Execution(plan=MemoryPlan("float32", stream_decoder=True, cache=False))
    loaded = AvatarPipeline(tiny_soul(), tiny_soul_networks(), Choices(memory="low"), how)
    ran, clips = [], AvatarPipeline.clips

    def watched(pipeline: AvatarPipeline, *given: object, **options: object):  # type: ignore[no-untyped-def]
        ran.append((pipeline.execution, pipeline.choices, pipeline.spec.carry))
        yield from clips(pipeline, *given, **options)

    monkeypatch.setattr(AvatarPipeline, "clips", watched)
    LongVideos(loaded, case(0.4), tmp_path).made("95")
    assert ran == [(how, Choices(memory="low"), RepairLatents(95.0))]


def test_other_weights_have_other_folders(tmp_path: Path) -> None:
    pipelines = [AvatarPipeline(tiny_soul(), tiny_soul_networks(seed)) for seed in (0, 1, 0)]
    one, other, same = (LongVideos(pipeline, case(1.0), tmp_path).folder for pipeline in pipelines)
    assert one == same != other


def test_a_model_without_a_codebook_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="has no codebook"):
        LongVideos(AvatarPipeline(tiny_spec(), tiny_networks()), case(1.0), tmp_path)


def test_what_is_no_variant_is_refused() -> None:
    for wrong in ("some", "101"):
        with pytest.raises(ConfigError, match="is no variant"):
            carry_of(wrong)


def test_clipping_begins_near_what_real_latents_lose_and_stays() -> None:
    def failed(clipped: list[float]) -> list[str]:
        return [check.name for check in checks(drift(clipped), "99") if not check.passed]

    assert failed([0.01] * 20) == []
    assert failed([0.05] * 20) == ["clipped, first tenth"]
    assert failed([0.01] * 18 + [0.04] * 2) == ["clipped, last tenth"]
    assert not [check for check in checks(drift([0.5] * 20), "none") if check.target]


def test_now_and_then_the_time_left_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    now = iter([0.0, 10.0, 40.0, 50.0, 80.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(now))
    tell = told("a video")
    with caplog.at_level(logging.INFO):
        for done in (0, 10, 40, 50, 80):
            tell(Progress("making", done, 100))
    assert caplog.messages == ["a video: making, 40 %, 1.0 minutes left", "a video: making, 80 %, 0.3 minutes left"]
