"""Flags become the values a run file would hold."""

from pathlib import Path

import pytest

from enliven.commands.flags import Inputs, Sampling, values
from enliven.errors import ConfigError


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
