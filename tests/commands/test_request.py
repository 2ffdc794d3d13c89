"""Run file, settings and flags become one request."""

from pathlib import Path

import pytest

from enliven import config
from enliven.commands.request import DEFAULT_MODEL, RunFile, gather
from enliven.errors import ConfigError, RequestError
from enliven.request import GenerateRequest, Scales, Scene


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


SCENES = '[[scene]]\nfrom = 1\nprompt = "a"\n[[scene]]\nfrom = 2.5\nprompt = "b"\n'


def test_scenes_stand_in_a_run_file_or_in_a_file_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "scenes.toml").write_text(SCENES)
    (tmp_path / "inside.toml").write_text("seconds = 9.0\n" + SCENES.replace("2.5", "4.5"))
    (tmp_path / "named.toml").write_text('seconds = 9.0\ntimeline = "scenes.toml"\n')
    expected = (Scene(1.0, "a"), Scene(2.5, "b"))
    for file, flags in (("named.toml", {}), ("inside.toml", {"timeline": tmp_path / "scenes.toml"})):
        assert config.parse(RunFile, gather(tmp_path / file, flags)).timeline == expected
    inside = config.parse(RunFile, gather(tmp_path / "inside.toml", {})).timeline
    assert inside == (Scene(1.0, "a"), Scene(4.5, "b"))


@pytest.mark.parametrize(
    ("scenes", "message", "hint"),
    [
        ("", "no scene in the timeline", "from = 12.5"),
        ("scene = 3\n", "no scene in the timeline", "from = 12.5"),
        ("[scene]\nfrom = 1\n", "no scene in the timeline", "from = 12.5"),
        (SCENES + 'promt = "c"\n', "scene 2 has a 'promt'", "did you mean 'prompt'"),
        (SCENES + '[[scene]]\nprompt = "c"\n', "scene 3 has no 'from'", "from = 12.5"),
        ("[[scene]]\nfrom = 1\n", "scene 1 has no 'prompt'", "from = 12.5"),
        ("steps = 3\n" + SCENES, "holds 'steps'", "run file"),
    ],
)
def test_a_timeline_that_is_none_is_refused(tmp_path: Path, scenes: str, message: str, hint: str) -> None:
    (tmp_path / "scenes.toml").write_text(scenes)
    with pytest.raises(ConfigError, match=message) as caught:
        gather(None, {"timeline": tmp_path / "scenes.toml"})
    assert hint in str(caught.value.hint)


def test_a_scene_whose_start_is_no_number_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scenes.toml").write_text(SCENES.replace("2.5", '"soon"'))
    with pytest.raises(ConfigError, match=r"timeline\.1\.start.*'soon'"):
        config.parse(RunFile, gather(None, {"timeline": tmp_path / "scenes.toml", "seconds": 9.0}))
