from pathlib import Path

import pytest
from PIL import Image

from enliven.diffusion.guidance import Guidance, ProjectedGuidance
from enliven.errors import ConfigError, RequestError
from enliven.request import GenerateRequest, Scales
from enliven.systems.longcat import ReferenceSkip
from tiny import tiny_spec


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "neither audio nor seconds"),
        ({"seconds": 0.0}, "0 seconds"),
        ({"seconds": float("nan")}, "nan seconds"),
        ({"seconds": 1.0, "height": 64}, "width None"),
        ({"audio": (Path("a"), Path("b"))}, "2 voices"),
    ],
)
def test_requests_that_make_no_sense_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        GenerateRequest(**values)


def test_what_is_left_out_the_model_decides() -> None:
    spec = tiny_spec()
    assert GenerateRequest(seconds=1.0).apply(spec) == spec


def test_what_is_given_wins() -> None:
    request = GenerateRequest(
        seconds=1.0, steps=5, guidance=Scales(audio=7.0), reference_index=3.0, skip_radius=0, negative_prompt="dull"
    )
    spec = request.apply(tiny_spec())
    assert (spec.steps, spec.guidance, spec.negative_prompt) == (5, Guidance(2.0, 7.0), "dull")
    assert spec.arrange == ReferenceSkip(3.0, 0)


def test_a_model_that_does_not_hear_has_no_audio_scale() -> None:
    with pytest.raises(RequestError, match="no audio to set"):
        GenerateRequest(seconds=1.0, guidance=Scales(audio=2.0)).apply(tiny_spec(guidance=ProjectedGuidance()))


def test_sizes() -> None:
    wide = Image.new("RGB", (1600, 900))
    request = GenerateRequest(seconds=1.0)
    assert request.size(tiny_spec(), wide) == (32, 32)
    assert request.size(tiny_spec(resolution="480p"), wide) == (480, 832)
    assert GenerateRequest(seconds=1.0, height=48, width=64).size(tiny_spec(resolution="480p"), wide) == (48, 64)
    with pytest.raises(RequestError, match="height 50") as caught:
        GenerateRequest(seconds=1.0, height=50, width=64).size(tiny_spec(), None)
    assert caught.value.hint == "use 48"


@pytest.mark.parametrize("steps", [0, 500])
def test_steps_that_no_schedule_takes_are_refused_before_any_work(steps: int) -> None:
    with pytest.raises(ConfigError, match=f"{steps} (denoising )?steps"):
        GenerateRequest(seconds=1.0, steps=steps).apply(tiny_spec())
