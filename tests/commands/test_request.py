"""Run file, settings and flags become one request."""

import json
from pathlib import Path

import pytest

from enliven import config
from enliven.commands.request import RunFile, gather
from enliven.errors import ConfigError, RequestError
from enliven.media.regions import Box
from enliven.media.voices import Turns
from enliven.request import GenerateRequest, Scales, Scene
from tiny import write_portrait, write_speech


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
    assert whole.model is None, "left to the weights"


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


def test_portraits_of_scenes_lie_beside_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "day.toml").write_text(SCENES + 'portrait = "shot.png"\n')
    (tmp_path / "films" / "run.toml").write_text("seconds = 9.0\n" + SCENES + 'portrait = "shot.png"\ncut = true\n')
    (tmp_path / "films" / "named.toml").write_text(
        'seconds = 9.0\n[[timeline]]\nstart = 1\nprompt = "a"\n'
        '[[timeline]]\nstart = 2\nprompt = "a"\nportrait = "shot.png"\n'
    )
    files = [tmp_path / "films" / name for name in ("run.toml", "named.toml")]
    for file, flags in ((None, {"timeline": tmp_path / "films" / "day.toml"}), *((file, {}) for file in files)):
        scene = config.parse(RunFile, {"seconds": 9.0} | gather(file, flags)).timeline[1]
        assert scene.begins_shot
        assert scene.portrait == tmp_path / "films" / "shot.png"


def test_scenes_that_are_set_win_over_a_timeline_in_the_run_file(tmp_path: Path) -> None:
    (tmp_path / "scenes.toml").write_text(SCENES)
    (tmp_path / "run.toml").write_text('seconds = 9.0\ntimeline = "scenes.toml"\n')
    settings = ['scene = [{from = 3, prompt = "set"}]']
    assert config.parse(RunFile, gather(tmp_path / "run.toml", {}, settings)).timeline == (Scene(3.0, "set"),)
    flags = {"timeline": tmp_path / "scenes.toml"}
    assert len(config.parse(RunFile, gather(tmp_path / "run.toml", flags, settings)).timeline) == 2


@pytest.mark.parametrize(
    ("scenes", "message", "hint"),
    [
        ("", "no scene in the timeline", "from = 12.5"),
        ("scene = 3\n", "no scene in the timeline", "from = 12.5"),
        ("[scene]\nfrom = 1\n", "no scene in the timeline", "from = 12.5"),
        (SCENES + 'promt = "c"\n', "scene 2 has a 'promt'", "did you mean 'prompt'"),
        (SCENES + '[[scene]]\nprompt = "c"\n', "scene 3 has no 'from'", "from = 12.5"),
        ("[[scene]]\nfrom = 1\n", "scene 1 has no 'prompt'", "from = 12.5"),
        (SCENES.replace("2.5", '"soon"'), "scene 2 is from 'soon', which are no seconds", "from = 12.5"),
        (SCENES.replace("2.5", "true"), "scene 2 is from True, which are no seconds", "from = 12.5"),
        ("[[scene]]\nfrom = 1\nprompt = 3\n", "scene 1 has the prompt 3, no text", "from = 12.5"),
        (SCENES + "cut = 1\n", "scene 2 has cut = 1", "cut = true"),
        (SCENES + "portrait = true\n", "scene 2 has portrait = True", 'portrait = "shot.png"'),
        (SCENES + "cuts = true\n", "scene 2 has a 'cuts'", "did you mean 'cut'"),
        ("steps = 3\n" + SCENES, "holds 'steps'", "run file"),
    ],
)
def test_a_timeline_that_is_none_is_refused(tmp_path: Path, scenes: str, message: str, hint: str) -> None:
    (tmp_path / "scenes.toml").write_text(scenes)
    with pytest.raises(ConfigError, match=message) as caught:
        gather(None, {"timeline": tmp_path / "scenes.toml"})
    assert hint in str(caught.value.hint)


@pytest.fixture
def input_file(tmp_path: Path) -> Path:
    """What LongCat reads, for two people and one who never speaks."""
    write_portrait(tmp_path / "us.png")
    for name in ("a.wav", "b.wav"):
        write_speech(tmp_path / name, 0.5)
    said = {
        "prompt": "two people",
        "cond_image": "us.png",
        "cond_audio": {"person1": "a.wav", "person2": "b.wav"},
        "audio_type": "add",
        "bbox": {"person1": [0, 0, 40, 20], "person2": [0, 20, 40, 40], "others": [0, 40, 40, 48]},
    }
    (tmp_path / "input.json").write_text(json.dumps(said))
    return tmp_path / "input.json"


def test_an_input_file_says_what_nothing_else_does(input_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    request = config.parse(RunFile, gather(None, {"input": input_file, "prompt": "a duet", "seed": 4})).request()
    assert request == GenerateRequest(
        audio=(input_file.parent / "a.wav", input_file.parent / "b.wav"),
        prompt="a duet",
        portrait=input_file.parent / "us.png",
        speakers=(Box(0, 0, 40, 20), Box(0, 20, 40, 40)),
        turns=Turns.IN_TURN,
        seed=4,
    )
    assert caplog.messages == ["1 people of input.json who have no voice stay in the background"]


def test_boxes_of_an_input_file_belong_to_its_picture(input_file: Path) -> None:
    request = config.parse(RunFile, gather(None, {"input": input_file, "portrait": Path("other.png")})).request()
    assert (request.portrait, request.speakers) == (Path("other.png"), ())
    assert len(request.audio) == 2


def test_a_run_file_may_name_an_input_file(input_file: Path) -> None:
    (input_file.parent / "run.toml").write_text('input = "input.json"\nturns = "para"\n')
    request = config.parse(RunFile, gather(input_file.parent / "run.toml", {})).request()
    assert (request.turns, request.prompt) == (Turns.TOGETHER, "two people")


def test_speakers_in_a_run_file_are_boxes_or_masks_beside_it(tmp_path: Path) -> None:
    shared = 'audio = ["a.wav", "silence"]\nportrait = "us.png"\n'
    boxes, masks = tmp_path / "boxes.toml", tmp_path / "masks.toml"
    boxes.write_text(shared + 'speakers = [[0, 0, 9, 9], "0, 9, 9, 18"]\n')
    masks.write_text(shared + 'speakers = ["one.png", "two.png"]\n')
    request = config.parse(RunFile, gather(boxes, {})).request()
    assert request.audio == (tmp_path / "a.wav", None)
    assert request.speakers == (Box(0, 0, 9, 9), Box(0, 9, 9, 18))
    assert config.parse(RunFile, gather(masks, {})).speakers == (tmp_path / "one.png", tmp_path / "two.png")
    flagged = gather(masks, {"speakers": ("0,0,9,9", "0,9,9,18")})
    assert config.parse(RunFile, flagged).speakers == request.speakers


def test_a_box_of_other_than_four_numbers_is_refused() -> None:
    with pytest.raises(ConfigError, match="'1,2,3' has 3 numbers; 4 were expected"):
        gather(None, {"speakers": ("1,2,3",)})


def test_a_run_file_names_weights_and_loras_from_its_own_folder(tmp_path: Path) -> None:
    run_file = tmp_path / "run.toml"
    run_file.write_text('seconds = 1.0\nweights = "LongCat"\nloras = ["style.safetensors:0.5"]\nexpressiveness = 1.5\n')
    run_file.write_text(run_file.read_text() + 'base = "../LongCat-Video"\nmemory = 24\n')
    choices = config.parse(RunFile, gather(run_file, {})).choices()
    assert choices.given == {
        "memory": 24,
        "weights": tmp_path / "LongCat",
        "base": tmp_path / ".." / "LongCat-Video",
        "loras": (f"{tmp_path / 'style.safetensors'}:0.5",),
        "expressiveness": 1.5,
    }


def test_weights_of_a_separator_lie_beside_the_run_file(tmp_path: Path) -> None:
    for said, meant in [("centre", "centre"), ("demucs", str(tmp_path / "demucs"))]:
        (tmp_path / "run.toml").write_text(f'seconds = 1.0\nvocals = "{said}"\n')
        assert config.parse(RunFile, gather(tmp_path / "run.toml", {})).vocals == meant
