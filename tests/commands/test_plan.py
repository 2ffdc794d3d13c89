"""The estimate of a dry run."""

from dataclasses import replace
from pathlib import Path

import pytest

from enliven.commands.plan import MOST_CLIPS, describe, estimate, placing
from enliven.errors import RequestError
from enliven.pipeline import AvatarPipeline
from enliven.request import GenerateRequest, Scene
from enliven.runtime.choices import Choices
from enliven.runtime.memory import MemoryPlan, Needs, NetworkNeeds
from enliven.systems.execution import Execution
from enliven.systems.opening import open_model
from tiny import write_portrait

SHORT = GenerateRequest(seconds=0.4, steps=1)


def test_a_long_plan_is_cut_short_and_counts_what_it_leaves_out(here: Path) -> None:
    lines = describe(open_model("tiny"), GenerateRequest(seconds=8.0, steps=1))
    clips = 1 + -(-(200 - 17) // 12)
    assert f"clips   {clips}" in lines
    assert f"  and {clips - MOST_CLIPS} more" in lines


def test_a_plan_tells_where_it_is_cut(here: Path) -> None:
    shot = Scene(0.4, "a hat", portrait=write_portrait(here / "shot.png"))
    lines = describe(open_model("tiny"), GenerateRequest(seconds=1.0, steps=1, prompt="a man", timeline=(shot,)))
    assert "  0     frames 0 to 9: a man" in lines
    assert "  1     frames 10 to 24, after a cut: a hat" in lines


def test_the_estimate_grows_with_clips_and_steps(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = AvatarPipeline.load("tiny")
    moments = iter([0.0, 9.0, 10.0, 13.0, 20.0, 25.0])  # warming up; one step in 3 seconds; two steps in 5
    monkeypatch.setattr("enliven.commands.plan.time.perf_counter", lambda: next(moments))
    request = GenerateRequest(seconds=1.0, steps=5)
    spec = request.apply(pipeline.spec)
    assert estimate(pipeline, spec, pipeline.encode(request, spec), seed=0) == 2 * (3.0 + 4 * 2.0)


def test_a_small_model_in_eight_bits_says_so(here: Path) -> None:
    (held,) = [line for line in describe(open_model("tiny", Choices(quantise="fp8")), SHORT) if "GiB" in line]
    assert held.startswith("memory  about ")
    assert held.endswith(" GiB, the backbone in fp8")
    (held,) = [line for line in describe(open_model("tiny"), SHORT) if "GiB" in line]
    assert held.endswith(" GiB")


def test_a_decoder_that_a_weighed_model_lacks_is_told_without_loading_it(here: Path) -> None:
    opening = open_model("tiny", Choices(memory="low"))
    assert describe(opening, SHORT)
    with pytest.raises(RequestError, match="no decoder 'efficient'"):
        describe(opening, replace(SHORT, decoder="efficient"))


def test_what_is_where() -> None:
    million = 10**6
    needs = Needs(
        {
            "backbone": NetworkNeeds(15_872 * million, (million,)),
            "autoencoder": NetworkNeeds(127 * million),
            "text": NetworkNeeds(9),
        }
    )
    plan = MemoryPlan("bfloat16", True, True, "int8", True, False, False, needed=3 * 2**30, room=2**32)
    assert placing(Execution("cuda", replace(plan, quantise="fp8")), needs)[1].endswith(
        "15,872 M in fp8, block by block, from memory"
    )
    assert placing(Execution("cuda", plan), needs) == [
        "memory  at most 3.0 GiB of 4.0 GiB on cuda",
        "  backbone     15,872 M in int8, block by block, from memory",
        "  autoencoder     127 M in float32, stays, decodes clip by clip",
        "  text              0 M in bfloat16, block by block, from its files, and goes once it has read",
        "  clean frames are computed anew in each step",
    ]
