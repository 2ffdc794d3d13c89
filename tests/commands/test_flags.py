"""Flags become the values a run file would hold."""

from pathlib import Path

import pytest

from enliven import config
from enliven.cli import app
from enliven.commands.flags import Inputs, Sampling, arguments, values
from enliven.errors import ConfigError
from enliven.request import Scene


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
        {"model": "longcat-toon", "seconds": 2.5, "steps": 4, "reference_index": -2, "skip_radius": 0},
    ],
)
def test_values_become_arguments_that_mean_the_same(given: dict[str, object]) -> None:
    _, bound, _ = app.parse_args(["generate", *arguments(given)], exit_on_error=False, print_error=False)
    said = values(bound.arguments.get("inputs", Inputs()), bound.arguments.get("sampling", Sampling()))
    assert said == given


def test_a_timeline_is_said_as_a_setting() -> None:
    said = arguments({"timeline": (Scene(0.5, 'a "hat" \\ é'), Scene(2.0, "b")), "decoder": "full"})
    assert said[0] == "--set"
    assert said[2:] == ["--decoder", "full"]
    settings = config.override({}, [said[1]])
    assert settings == {"scene": [{"from": 0.5, "prompt": 'a "hat" \\ é'}, {"from": 2.0, "prompt": "b"}]}
