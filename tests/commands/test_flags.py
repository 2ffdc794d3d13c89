"""Flags become the values a run file would hold."""

import re
from dataclasses import fields
from pathlib import Path
from typing import get_type_hints

import pytest

from enliven import config
from enliven.cli import app
from enliven.commands.flags import SPELLED, Inputs, Opened, Published, Running, Sampling, arguments, values
from enliven.errors import ConfigError
from enliven.media.regions import Box
from enliven.request import Scene
from enliven.runtime.choices import Choices, DtypeChoice, QuantiseChoice
from enliven.runtime.memory import Memory
from enliven.systems import DEFAULT_MODEL


def test_only_what_was_given_is_said() -> None:
    assert values(Inputs(), Sampling()) == {}
    assert values(Inputs(prompt=""), Sampling(seed=0)) == {"prompt": "", "seed": 0}


def test_flags_take_the_names_and_places_of_a_run_file() -> None:
    inputs = Inputs(portrait=Path("me.png"), video=Path("before.mp4"))
    sampling = Sampling(size="224x128", text_guidance=2.0)
    assert values(inputs, sampling) == {
        "portrait": Path("me.png"),
        "video": Path("before.mp4"),
        "width": 224,
        "height": 128,
        "guidance": {"text": 2.0},
    }


@pytest.mark.parametrize("size", ["128", "128x", "axb", "0x128", "128x-1", "128x128x3"])
def test_a_size_that_is_none_is_refused(size: str) -> None:
    with pytest.raises(ConfigError, match="WIDTHxHEIGHT"):
        values(Sampling(size=size))


@pytest.mark.parametrize(
    "given",
    [
        {"portrait": Path("my face.png"), "audio": (Path("a.wav"), Path("b.wav")), "prompt": 'it\'s "me" --seed'},
        {"video": Path("v.mp4"), "width": 64, "height": 32, "guidance": {"audio": 3.5, "text": 1.0}, "seed": 3},
        {"audio": (Path("a.wav"), Path("silence")), "speakers": ("1,2,3,4", "5,6,7,8"), "turns": "add"},
        {"weights": Path("a b"), "loras": ("a.safetensors:0.5", "b"), "expressiveness": 0.8, "dtype": "float32"},
        {"memory": 20.5, "quantise": "none", "base": Path("LongCat-Video")},
        {"memory": "low", "quantise": "int8", "attention": "sdpa"},
        {"model": "longcat-toon", "seconds": 2.5, "steps": 4, "reference_index": -2, "skip_radius": 0},
    ],
)
def test_values_become_arguments_that_mean_the_same(given: dict[str, object]) -> None:
    _, bound, _ = app.parse_args(["generate", *arguments(given)], exit_on_error=False, print_error=False)
    said = values(*(bound.arguments.get(name) for name in ("inputs", "sampling", "opened")))
    assert said == given


def test_every_choice_has_a_flag_and_every_flag_of_a_model_is_a_choice() -> None:
    """But for the name of the model, and who shares the work."""
    flags = {field.name for field in fields(Opened)}
    assert flags - {"model", "parallel"} == {field.name for field in fields(Choices)}
    hints = get_type_hints(Opened)
    assert {name: hints[name] for name in ("dtype", "quantise", "memory")} == {
        "dtype": DtypeChoice | None,
        "quantise": QuantiseChoice | None,
        "memory": Memory | None,
    }


@pytest.mark.parametrize("command", ["generate", "batch", "demo", "resume"])
def test_commands_that_run_a_model_have_the_same_flags_for_it(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    app([command, "--help"], result_action="return_value")
    shown = capsys.readouterr().out.split()
    group = Running if command == "resume" else Opened
    for name in (SPELLED.get(field.name, f"--{field.name}") for field in fields(group)):
        assert shown.count(name) == 1, name


def test_who_shares_the_work_is_in_no_run_file() -> None:
    assert values(Opened(memory="low", parallel="context=2")) == {"memory": "low"}


def test_a_timeline_is_said_as_a_setting() -> None:
    shot = Scene(4.0, "c", Path('a "b".png'), cut=True)
    said = arguments({"timeline": (Scene(0.5, 'a "hat" \\ é'), Scene(2.0, "b"), shot), "decoder": "full"})
    assert said[0] == "--set"
    assert said[2:] == ["--decoder", "full"]
    settings = config.override({}, [said[1]])
    last = {"from": 4.0, "prompt": "c", "portrait": 'a "b".png', "cut": True}
    assert settings == {"scene": [{"from": 0.5, "prompt": 'a "hat" \\ é'}, {"from": 2.0, "prompt": "b"}, last]}


def test_somebody_silent_and_boxes_are_said_as_flags() -> None:
    said = arguments({"audio": (Path("a.wav"), None), "speakers": (Box(1, 2, 3, 4), Path("mask.png"))})
    assert said == ["--audio", "a.wav", "--audio", "silence", "--speakers", "1,2,3,4", "--speakers", "mask.png"]


@pytest.mark.parametrize(
    ("script", "ours"),
    [
        (
            "--input_json a.json --num_inference_steps 8 --ref_img_index 30 --mask_frame_range 2 "
            "--text_guidance_scale 3 --audio_guidance_scale 4.5",
            "--input a.json --steps 8 --reference-index 30 --skip-radius 2 --text-guidance 3 --audio-guidance 4.5",
        ),
        (
            "--sample_steps 8 --base_seed 3 --sample_text_guide_scale 1 --sample_audio_guide_scale 2",
            "--steps 8 --seed 3 --text-guidance 1 --audio-guidance 2",
        ),
        ("--num_inference_steps 50 --steps 8", "--steps 8"),
    ],
)
def test_flags_of_published_scripts_mean_the_same_and_ours_win(script: str, ours: str) -> None:
    def understood(line: str) -> dict[str, object]:
        _, bound, _ = app.parse_args(f"generate {line}".split(), exit_on_error=False, print_error=False)
        return values(*(bound.arguments.get(name) for name in ("as_published", "inputs", "sampling", "opened")))

    assert understood(script) == understood(ours) != {}


def test_help_names_a_flag_once(capsys: pytest.CaptureFixture[str]) -> None:
    app(["generate", "--help"], result_action="return_value")
    shown = capsys.readouterr().out
    assert "--speakers" in shown
    assert not any(name in shown for name in ("--input_json", "--base_seed", "--input-json"))
    assert {field.name for field in fields(Published)} <= {
        field.name for group in (Inputs, Sampling) for field in fields(group)
    }


@pytest.mark.parametrize("command", ["generate", "encode"])
def test_help_names_the_default_model(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    app([command, "--help"], result_action="return_value")
    shown = " ".join(re.sub(r"[│\s]+", " ", capsys.readouterr().out).split())
    others = {"generate": " what made the video to go on from,", "encode": ""}[command]
    assert f"what the weights are for,{others} or {DEFAULT_MODEL}" in shown
