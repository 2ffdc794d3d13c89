from pathlib import Path

import pytest
from PIL import Image

from enliven.diffusion.guidance import Guidance, ProjectedGuidance
from enliven.errors import ConfigError, RequestError
from enliven.media.regions import Box
from enliven.request import GenerateRequest, Scales, Scene
from enliven.systems import MODELS
from enliven.systems.carry import RepairLatents
from enliven.systems.longcat import ReferenceSkip
from enliven.systems.sizes import TrainedSize
from tiny import tiny_soul, tiny_spec

LEFT, RIGHT = Box(0, 0, 9, 9), Box(0, 9, 9, 18)
TWO = {"audio": (Path("a"), Path("b")), "portrait": Path("us.png")}


@pytest.mark.parametrize(
    ("model", "other"), [("longcat", "longcat-multi"), ("soul", "a LongCat avatar"), ("soul-toon", "a LongCat avatar")]
)
def test_who_hears_one_voice_says_who_hears_more(model: str, other: str) -> None:
    with pytest.raises(RequestError, match=f"2 voices were given; {model} hears one") as refused:
        GenerateRequest(**TWO).apply(MODELS[model])
    assert refused.value.hint == f"give one sound file, or choose {other}"
    GenerateRequest(seconds=1.0, audio=(Path("a"),)).apply(MODELS[model])


@pytest.mark.parametrize("model", ["longcat-multi", "longcat-1.5", "longcat-1.5-undistilled", "longcat-toon"])
def test_two_voices_are_heard_by_who_can(model: str) -> None:
    assert GenerateRequest(**TWO).apply(MODELS[model]).name == model


@pytest.mark.parametrize(
    ("model", "values", "message", "hint"),
    [
        ("longcat-video", {"audio": (Path("a"),)}, "1 voices were given; longcat-video hears nothing", "no sound"),
        ("longcat-video", {"draft": Path("a")}, "longcat-video refines no videos", "choose longcat-video-720p"),
        ("longcat-video-720p", {"seconds": 1.0}, "refines a video, and none was given", "--refine"),
        ("longcat-video", {"seconds": 1.0, "portrait": Path("a"), "video": Path("b")}, "both were given", "leave out"),
        ("longcat-video", {"seconds": 1.0, "guidance": Scales(audio=2.0)}, "no audio to set", "leave it out"),
        ("longcat-video-720p", {"draft": Path("a"), "reference_index": 3}, "no position to set", "leave it out"),
    ],
)
def test_what_a_model_does_not_do_is_refused(model: str, values: dict[str, object], message: str, hint: str) -> None:
    with pytest.raises(RequestError, match=message) as refused:
        GenerateRequest(**values).apply(MODELS[model])
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "neither audio nor seconds"),
        ({"draft": Path("a"), "seconds": 1.0}, "a is refined, which neither sound"),
        ({"draft": Path("a"), "portrait": Path("b")}, "a is refined, which neither sound"),
        ({"draft": Path("a"), "vocals": "centre"}, "a is refined, which neither sound"),
        ({"seconds": 0.0}, "0 seconds"),
        ({"seconds": float("nan")}, "nan seconds"),
        ({"seconds": 1.0, "height": 64}, "width None"),
        ({"audio": (Path("a"), Path("b"))}, "2 voices, but no picture"),
        ({"audio": (None,)}, "1 voices, and all of them are silent"),
        ({"audio": (Path("a"),), "speakers": (LEFT, RIGHT)}, "2 speakers are placed, but 1 voices"),
        ({"seconds": 1.0, "speakers": (LEFT,)}, "1 speakers are placed, but 0 voices"),
        (TWO | {"speakers": (LEFT, Path("mask.png"))}, "some speakers have a box and some a mask"),
        ({"seconds": 9.0, "timeline": (Scene(2.0, "a"), Scene(1.0, "b"))}, "1 seconds does not come after that at 2"),
        ({"seconds": 9.0, "timeline": (Scene(2.0, "a"), Scene(2.0, "b"))}, "2 seconds does not come after that at 2"),
        (
            {"seconds": 9.0, "timeline": (Scene(2.0, "a", cut=True),)},
            "at 2 seconds begins with a cut, and nothing says",
        ),
        (TWO | {"timeline": (Scene(2.0, "a", Path("b")),)}, "2 voices, and the scene at 2 seconds has a picture of"),
        ({"draft": Path("a"), "timeline": (Scene(2.0, "a", Path("b")),)}, "a is refined, which makes no cuts"),
        ({"seconds": 9.0, "timeline": (Scene(9.0, "a"),)}, "starts at 9 seconds, but the video ends at 9"),
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


@pytest.mark.parametrize(
    ("start", "prompt", "message"), [(-1.0, "a", "-1 seconds"), (float("nan"), "a", "nan"), (1.0, " ", "no prompt")]
)
def test_scenes_that_make_no_sense_are_refused(start: float, prompt: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Scene(start, prompt)


@pytest.mark.parametrize("shot", [{"cut": True}, {"portrait": Path("a.png")}])
def test_a_video_does_not_begin_with_a_cut(shot: dict[str, object]) -> None:
    with pytest.raises(RequestError, match="the scene at 0 seconds has a"):
        Scene(0.0, "a", **shot)
    assert Scene(1.0, "a", **shot).begins_shot
    assert not Scene(1.0, "a").begins_shot


def test_how_much_is_repaired_and_who_decodes_can_be_asked_for() -> None:
    spec = GenerateRequest(seconds=1.0, repair_percentile=95.0, decoder="efficient").apply(tiny_soul())
    assert (spec.carry, spec.decoder) == (RepairLatents(95.0), "efficient")
    with pytest.raises(RequestError, match="no percentile to set"):
        GenerateRequest(seconds=1.0, repair_percentile=95.0).apply(tiny_spec())
    with pytest.raises(RequestError, match=r"percentile 200 is not in 0\.\.100"):
        GenerateRequest(seconds=1.0, repair_percentile=200.0).apply(tiny_soul())


def test_sizes() -> None:
    wide = Image.new("RGB", (1600, 900))
    request = GenerateRequest(seconds=1.0)
    assert request.size(tiny_spec(), wide) == (32, 32)
    assert request.size(tiny_spec(choose_size=TrainedSize("480p")), wide) == (480, 832)
    assert GenerateRequest(seconds=1.0, height=48, width=64).size(tiny_spec(choose_size=TrainedSize("480p")), wide) == (
        48,
        64,
    )
    with pytest.raises(RequestError, match="height 50") as caught:
        GenerateRequest(seconds=1.0, height=50, width=64).size(tiny_spec(), None)
    assert caught.value.hint == "use 48"
    with pytest.raises(RequestError, match="height 48 is no multiple of 32"):
        GenerateRequest(seconds=1.0, height=48, width=64).size(tiny_soul(side_step=32), None)


def test_who_wants_more_steps_than_a_student_takes_is_sent_to_its_teacher() -> None:
    with pytest.raises(ConfigError, match="8 steps") as refused:
        GenerateRequest(seconds=1.0, steps=8).apply(MODELS["longcat-toon-4step"])
    assert refused.value.hint == "use 1 to 4 steps, or --model longcat-toon for more"
    with pytest.raises(ConfigError) as refused:
        GenerateRequest(seconds=1.0, steps=0).apply(MODELS["longcat-toon-4step"])
    assert "longcat-toon" not in refused.value.hint


@pytest.mark.parametrize("steps", [0, 500])
def test_steps_that_no_schedule_takes_are_refused_before_any_work(steps: int) -> None:
    with pytest.raises(ConfigError, match=f"{steps} (denoising )?steps"):
        GenerateRequest(seconds=1.0, steps=steps).apply(tiny_spec())


def test_a_model_that_hears_one_voice_says_so() -> None:
    with pytest.raises(RequestError, match="2 voices were given; tiny-soul hears one"):
        GenerateRequest(**TWO).apply(tiny_soul())
    spec = tiny_spec()
    assert GenerateRequest(**TWO).apply(spec) == spec


@pytest.mark.parametrize(("picture", "size"), [((640, 400), (32, 48)), ((400, 400), (32, 32)), ((200, 400), (32, 32))])
def test_several_people_are_shown_as_wide_as_their_picture(picture: tuple[int, int], size: tuple[int, int]) -> None:
    shown = Image.new("RGB", picture)
    assert GenerateRequest(**TWO).size(tiny_spec(), shown) == size
    assert GenerateRequest(seconds=1.0).size(tiny_spec(), shown) == (32, 32)
