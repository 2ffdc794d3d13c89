"""Run file, settings and flags become one request."""

from pathlib import Path

import pytest

from enliven import config
from enliven.commands.request import DEFAULT_MODEL, RunFile, gather
from enliven.errors import ConfigError, RequestError
from enliven.request import GenerateRequest, Scales


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    file = tmp_path / "run.toml"
    file.write_text('audio = ["a.wav"]\nportrait = "me.png"\nsteps = 8\n[guidance]\ntext = 2.0\naudio = 3.0\n')
    return file


def test_paths_in_a_run_file_start_at_its_folder(run_file: Path) -> None:
    request = config.parse(RunFile, gather(run_file, {})).request()
    assert type(request) is GenerateRequest
    assert request.portrait == run_file.parent / "me.png"
    assert request.audio == (run_file.parent / "a.wav",)


def test_flags_win_over_settings_and_settings_over_the_file(run_file: Path) -> None:
    flags = {"steps": 4, "guidance": {"audio": 5.0}, "portrait": Path("here.png")}
    whole = config.parse(RunFile, gather(run_file, flags, ["steps=6", "guidance.text=1.5", "seed=9"]))
    assert (whole.steps, whole.seed, whole.guidance) == (4, 9, Scales(1.5, 5.0))
    assert whole.portrait == Path("here.png")
    assert whole.model == DEFAULT_MODEL


def test_a_misspelt_setting_is_refused_with_a_guess(run_file: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'model'"):
        config.parse(RunFile, gather(run_file, {}, ["modle=longcat"]))


def test_what_a_request_refuses_a_run_file_refuses(run_file: Path) -> None:
    with pytest.raises(RequestError, match="-1 seconds"):
        config.parse(RunFile, gather(run_file, {"seconds": -1.0}))
