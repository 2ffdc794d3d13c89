"""Times of models, tried on tiny ones."""

import time
from dataclasses import replace

import pytest
import torch

from enliven.diffusion.guidance import Guidance, ProjectedGuidance
from enliven.diffusion.sample import LateSchedule, LinearSchedule
from enliven.models.backbone import ClipCache
from enliven.models.longcat import LongCat
from enliven.systems import trial
from enliven.systems.footprint import example_pass, pass_flops
from enliven.systems.spec import ModelSpec
from enliven.systems.trial import minute_seconds, pass_seconds, passes
from tiny import tiny_networks, tiny_spec


def test_passes_are_those_guidance_makes_in_each_step_there_is() -> None:
    spec = tiny_spec()
    guides = (Guidance(1.0, 1.0), Guidance(4.0, 4.0), Guidance(2.0, 3.0), ProjectedGuidance(4.0))
    assert [passes(replace(spec, guidance=guide)) for guide in guides] == [2, 4, 6, 4]
    assert passes(replace(spec, schedule=LateSchedule(LinearSchedule(12.0)), steps=50)) == 2 * 5


def test_a_minute_is_its_clips_steps_and_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """12 of 17 frames are new: 125 clips at 25 frames a second; 2 steps of 2 passes."""
    monkeypatch.setattr(trial, "pass_seconds", lambda spec, device: 0.01)
    assert minute_seconds(tiny_spec()) == 125 * 2 * 2 * 0.01


def test_a_pass_is_timed_as_a_real_network_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """In seconds of the processor, which others that keep the machine busy do not take."""
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    spec = tiny_spec(size=(128, 128))
    network, given, cache = tiny_networks().backbone, example_pass(spec), ClipCache()
    laps = []
    with torch.inference_mode():
        for _ in range(4):
            began = time.perf_counter()
            given.run(network, cache)
            laps.append(time.perf_counter() - began)
    assert min(laps[1:]) / 4 < pass_seconds(spec) < min(laps[1:]) * 4


@pytest.mark.parametrize("large", [0, 10**9], ids=["a block", "all blocks"])
def test_what_is_tried_small_is_scaled_to_the_whole(large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine where every multiplication takes a nanosecond."""
    spec, tried = tiny_spec(size=(128, 128)), []

    def timed(spec: ModelSpec, backbone: LongCat, size: tuple[int, int], *rest: object) -> float:
        tried.append((len(backbone.blocks), size))
        return pass_flops(spec, size) * len(backbone.blocks) / 2 / 1e9

    monkeypatch.setattr(trial, "LARGE", large)
    monkeypatch.setattr(trial, "_timed", timed)
    whole = pass_flops(spec) / 1e9
    assert pass_seconds(spec) == pytest.approx(whole)
    assert pass_seconds(spec, most_flops=whole * 1e9 / 20) == pytest.approx(whole)
    blocks = 2 if large else 1
    assert tried[0] == (blocks, (128, 128))
    assert tried[1][0] == blocks
    assert max(tried[1][1]) < 64
