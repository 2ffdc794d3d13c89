"""``enliven generate`` and ``enliven resume`` from flags to files."""

import json
import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from PIL import Image

from enliven.cli import run
from enliven.commands.generate import free_folder
from enliven.media.video import read_video
from enliven.pipeline import AvatarPipeline
from enliven.systems import opening
from published_folders import write_all, write_lora
from tiny import write_portrait, write_speech

TALK = ["generate", "--model", "tiny", "--portrait", "me.png", "--audio", "speech.wav"]


def after(label: str, shown: str) -> str:
    """What a line of the summary says."""
    return next(line.removeprefix(label).strip() for line in shown.splitlines() if line.startswith(label))


def test_a_portrait_and_speech_become_a_video_with_sound(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*TALK, "--prompt", "a man", "-o", "out/talk.mp4"]) == 0
    shown = capsys.readouterr()
    video = read_video(here / "out" / "talk.mp4", sound=True)
    assert video.frames.shape == (25, 3, 32, 32)
    assert video.audio is not None
    assert after("length", shown.out).startswith("1.00 s, 25 frames of 32x32, 25 a second, 2 clips")
    assert "making the video" in shown.err
    assert (here / "runs" / "talk" / "run.json").exists()


def test_the_summary_says_how_to_make_the_same_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--seconds", "0.5", "--seed", "3", "--audio-guidance", "1", "--negative-prompt", "", "-o", "it's.mp4"]
    assert run([*TALK, *asked]) == 0
    first = (here / "it's.mp4").read_bytes()
    (here / "it's.mp4").unlink()
    again = shlex.split(after("again", capsys.readouterr().out))
    assert again[0] == "enliven"
    assert again[again.index("--negative-prompt") + 1] == ""
    assert run(again[1:]) == 0
    assert (here / "it's.mp4").read_bytes() == first


@pytest.mark.parametrize("wrong", [["--audio", "missing.wav"], ["--portrait", "speech.wav"], ["-o", "talk.mp4"]])
def test_what_cannot_go_well_is_refused_before_the_model_is_loaded(
    wrong: list[str], here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_speech(here / "talk.mp4", 1.0)
    held = (here / "talk.mp4").read_bytes()
    monkeypatch.setattr(AvatarPipeline, "load", lambda *_, **__: pytest.fail("the model was loaded"))
    assert run(["generate", "--model", "tiny", "--audio", "talk.mp4", *wrong]) == 2
    assert capsys.readouterr().err.count("error:") == 1
    assert (here / "talk.mp4").read_bytes() == held
    assert not (here / "runs").exists()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["--decoder", "efficient"], "this model has no decoder 'efficient'"),
        (["--lora", "missing.safetensors"], "there is no LoRA at"),
        (["--lora", "other.safetensors"], "1 of 1 layers of the LoRA"),
    ],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_what_a_large_published_model_lacks_is_refused_before_its_weights_are_read(
    asked: list[str],
    told: str,
    dry: list[str],
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_all(here / "published")
    write_lora(here / "other.safetensors", {"blocks.9.attn.qkv": (192, 64, 3)})
    monkeypatch.setattr(opening, "SMALL", 0)
    monkeypatch.setattr(opening.Opening, "load", lambda *_: pytest.fail("weights were read"))
    large = ["--weights", str(here / "published" / "LongCat-Video-Avatar-1.5")]
    assert run(["generate", *large, "--portrait", "me.png", "--audio", "speech.wav", *asked, *dry]) in (1, 2)
    assert told in capsys.readouterr().err
    assert not (here / "runs").exists()


def test_a_stopped_run_says_how_to_go_on_and_ends_the_same(
    here: Path, stopped_early: Callable[[], AbstractContextManager[None]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*TALK, "-o", "whole.mp4"]) == 0
    capsys.readouterr()
    with stopped_early():
        assert run([*TALK, "-o", "parts.mp4"]) == 130
    hint = after("hint:", capsys.readouterr().err)
    again = shlex.split(hint.removeprefix("resume with: "))
    assert again[:2] == ["enliven", "resume"]
    assert run(again[1:]) == 0
    assert (here / "parts.mp4").read_bytes() == (here / "whole.mp4").read_bytes()


def test_a_run_file_and_flags_together(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "files").mkdir()
    (here / "files" / "run.toml").write_text('model = "tiny"\nportrait = "../me.png"\nseconds = 9.0\nsteps = 1\n')
    assert run(["generate", "files/run.toml", "--seconds", "0.4", "--set", "seed=5", "--run", "here"]) == 0
    record = json.loads((here / "here" / "run.json").read_text())
    assert (record["request"]["seed"], record["resolved"]["frames"], record["resolved"]["steps"]) == (5, 10, 1)
    assert (here / "here" / "video.mp4").exists()


def test_soul_says_how_much_it_repaired_and_how_to_make_the_same_again(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "scenes.toml").write_text(
        '[[scene]]\nfrom = 0\nprompt = "a man"\n[[scene]]\nfrom = 0.6\nprompt = "\\"a hat\\" = é"\n'
    )
    talk = ["generate", "--model", "tiny-soul", "--portrait", "me.png", "--audio", "speech.wav", "--steps", "2"]
    assert run([*talk, "--timeline", "scenes.toml", "--decoder", "efficient", "-o", "talk.mp4"]) == 0
    shown = capsys.readouterr().out
    assert "25 frames of 32x32, 25 a second, 3 clips" in after("length", shown)
    assert "% of what a clip hands to the next, at most" in after("clipped", shown)
    first = (here / "talk.mp4").read_bytes()
    (here / "talk.mp4").unlink()
    (here / "scenes.toml").unlink()
    assert run(shlex.split(after("again", shown))[1:]) == 0
    assert (here / "talk.mp4").read_bytes() == first


def test_a_dry_run_shows_which_clip_is_told_what(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene = 'scene=[{from = 0.7, prompt = "a hat"}]'
    assert run([*TALK, "--prompt", "a man", "--dry-run", "--set", scene]) == 0
    shown = capsys.readouterr().out
    assert "frames 0 to 16: a man" in shown
    assert "frames 17 to 24, after 5 repeated: a hat" in shown


def test_in_little_memory_it_is_the_same_video_and_says_where_everything_is(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*TALK, "--memory", "low", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert after("memory", shown).startswith("at most ")
    assert "on cpu" in after("memory", shown)
    assert "in float32, block by block, from its files" in after("  backbone", shown)
    assert "and goes once it has read" in after("  text", shown)
    assert after("time", shown).endswith("without decoding")
    assert run([*TALK, "-o", "whole.mp4"]) == 0
    capsys.readouterr()
    assert run([*TALK, "--memory", "low", "-o", "low.mp4"]) == 0
    again = shlex.split(after("again", capsys.readouterr().out))
    assert again[again.index("--memory") + 1] == "low"
    assert again[again.index("--quantise") + 1] == "none", "wherever it is made again"
    low, whole = (read_video(here / name).frames.int() for name in ("low.mp4", "whole.mp4"))
    assert (low - whole).abs().float().mean() < 1, "but for keys that are computed anew"


def test_a_run_goes_on_in_its_own_numbers_in_other_memory(
    here: Path, stopped_early: Callable[[], AbstractContextManager[None]]
) -> None:
    small = [*TALK, "--quantise", "int8", "--memory", "full"]
    assert run([*small, "-o", "whole.mp4"]) == 0
    assert run([*TALK, "-o", "plain.mp4"]) == 0
    with stopped_early():
        assert run([*small, "-o", "parts.mp4", "--run", "begun"]) == 130
    assert run(["resume", "begun", "--memory", "4"]) == 0
    assert (here / "parts.mp4").read_bytes() == (here / "whole.mp4").read_bytes()
    assert (here / "parts.mp4").read_bytes() != (here / "plain.mp4").read_bytes()


def test_shots_are_made_again_from_the_command_that_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_portrait(here / "an other.png", (48, 40))
    (here / "talk.toml").write_text('[[scene]]\nfrom = 0.4\nprompt = "a hat"\nportrait = "an other.png"\n')
    assert run([*TALK, "--steps", "1", "--timeline", "talk.toml", "-o", "talk.mp4"]) == 0
    again = after("again", capsys.readouterr().out)
    first = (here / "talk.mp4").read_bytes()
    (here / "talk.mp4").unlink()
    (here / "talk.toml").unlink()
    assert run(shlex.split(again)[1:]) == 0
    assert (here / "talk.mp4").read_bytes() == first


def test_a_run_that_is_done_says_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*TALK, "--steps", "1", "--run", "done"]) == 0
    assert "s for a second of video" in after("took", capsys.readouterr().out)
    assert run(["resume", "done"]) == 0
    assert after("took", capsys.readouterr().out) == "nothing: it was done already"


def test_a_prompt_that_no_clip_is_told_is_said(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    for start, said in ((0.0, 1), (0.7, 0)):
        caplog.clear()
        scene = f'scene=[{{from = {start}, prompt = "a hat"}}]'
        assert run([*TALK, "--steps", "1", "--prompt", "a man", "--dry-run", "--set", scene]) == 0
        told = [record.getMessage() for record in caplog.records if "prompt" in record.getMessage()]
        assert [each.split(":")[0] for each in told] == ["no clip is told the prompt"] * said


def test_a_dry_run_plans_and_writes_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(here.rglob("*"))
    assert run([*TALK, "--dry-run", "-o", "talk.mp4"]) == 0
    shown = capsys.readouterr().out
    assert after("clips", shown) == "2"
    assert "frames 0 to 16" in shown
    assert "frames 17 to 24, after 5 repeated" in shown
    assert "GiB" in after("memory", shown)
    assert set(here.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--model", "tinny", "--seconds", "1"], "did you mean 'tiny'"),
        (["--model", "tiny"], "give either of them"),
        (["--model", "tiny", "--audio", "missing.wav"], "missing.wav"),
        (["--model", "tiny", "--audio", "me.png"], "me.png"),
        (["--model", "tiny", "--portrait", "speech.wav", "--seconds", "1"], "speech.wav"),
        (["--model", "tiny", "--seconds", "-3"], "-3"),
        (["--model", "tiny", "--seconds", "1", "--steps", "0"], "0 denoising steps"),
        (["--model", "tiny", "--seconds", "1", "--steps", "500"], "500 steps"),
        (["--model", "tiny", "--seconds", "1", "--audio-guidance", "nan"], "guidance.audio"),
        (["--model", "tiny", "--seconds", "1", "--size", "30x32"], "30"),
        (["--model", "tiny", "--seconds", "1", "--set", "sed=4"], "did you mean 'seed'"),
        (["--model", "tiny", "--seconds", "1", "-o", "talk.avi"], "talk.mp4"),
        (["missing.toml"], "missing.toml"),
        (["--model", "tiny", "--seconds", "1", "--timeline", "missing.toml"], "missing.toml"),
        (["--model", "tiny", "--seconds", "1", "--set", 'scene=[{from=2.0, prompt="a"}]'], "ends at 1"),
        (["--model", "tiny", "--seconds", "1", "--set", 'scene=[{from=-2.0, prompt="a"}]'], "-2 seconds"),
        (["--model", "tiny", "--seconds", "1", "--set", 'scene=[{from=0.0, prompt=""}]'], "no prompt"),
        (["--model", "tiny", "--audio", "speech.wav", "--set", 'scene=[{from=2.0, prompt="a"}]'], "ends at 1"),
        (["--model", "tiny", "--seconds", "1", "--decoder", "quick"], "no decoder 'quick'"),
        (["--model", "tiny", "--seconds", "1", "--set", "repair_percentile=95"], "no percentile to set"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    arguments: list[str], told: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["generate", *arguments]) == 2
    shown = capsys.readouterr()
    assert told in shown.err
    assert shown.err.count("error:") == 1
    assert shown.out == ""
    assert not list(here.rglob("run.json"))


def test_a_folder_without_a_run_cannot_be_resumed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["resume", "nothing"]) == 2
    assert "no run in nothing" in capsys.readouterr().err


def test_run_folders_do_not_collide(here: Path) -> None:
    (here / "runs" / "talk").mkdir(parents=True)
    assert free_folder(Path("runs/talk")) == Path("runs/talk-2")
    (here / "runs" / "talk-2").touch()
    assert free_folder(Path("runs/talk")) == Path("runs/talk-3")
    assert free_folder(Path("runs/new")) == Path("runs/new")


TWO = ["--portrait", "me.png", "--audio", "speech.wav", "--audio", "other.wav", "--seconds", "0.8"]


@pytest.fixture
def two(here: Path) -> Path:
    """A second voice."""
    write_speech(here / "other.wav", 0.5)
    return here


def test_two_people_of_an_input_file_and_again_from_flags(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = {
        "prompt": "two people",
        "cond_image": "me.png",
        "cond_audio": {"person1": "speech.wav", "person2": "other.wav"},
        "audio_type": "add",
        "bbox": {"person1": [0, 0, 40, 24], "person2": [0, 24, 40, 48]},
    }
    (two / "input.json").write_text(json.dumps(said))
    asked = ["--input_json", "input.json", "--seconds", "1.2", "--num_inference_steps", "1"]
    assert run(["generate", "--model", "tiny", *asked, "-o", "two.mp4"]) == 0
    first = (two / "two.mp4").read_bytes()
    again = shlex.split(after("again", capsys.readouterr().out))
    assert again.count("--speakers") == again.count("--audio") == 2
    for path in ("two.mp4", "input.json"):
        (two / path).unlink()
    assert run(again[1:]) == 0
    assert (two / "two.mp4").read_bytes() == first
    assert read_video(two / "two.mp4", sound=True).frames.shape == (30, 3, 32, 32)


def test_who_speaks_where_is_drawn_before_any_work(
    two: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(AvatarPipeline, "load", lambda *_, **__: pytest.fail("the model was loaded"))
    assert run(["generate", "--model", "tiny", *TWO, "--show-speakers", "out/who.png"]) == 0
    shown = capsys.readouterr()
    assert "1     speech.wav at 4,2,36,21" in shown.out
    assert "2     other.wav at 4,26,36,45" in shown.out
    assert "0 faces were found" in caplog.text
    with Image.open(two / "out" / "who.png") as overlay:
        assert overlay.height == 480
    assert not (two / "runs").exists()


def test_a_dry_run_may_show_who_speaks_too(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = ["--speakers", "0,0,40,24", "--speakers", "0,24,40,48"]
    assert run(["generate", "--model", "tiny", *TWO, *places, "--show-speakers", "who.png", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "0,24,40,48" in shown
    assert after("clips", shown) == "2"
    assert (two / "who.png").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--model", "tiny-soul", *TWO], "tiny-soul hears one"),
        (["--model", "tiny", *TWO[2:]], "2 voices, but no picture"),
        (["--model", "tiny", *TWO, "--speakers", "0,0,40,24"], "1 speakers are placed, but 2 voices"),
        (["--model", "tiny", *TWO, "--speakers", "0,0,40,24", "--speakers", "0,24,40,49"], "leaves the picture"),
        (["--model", "tiny", *TWO, "--speakers", "0,0,40,30", "--speakers", "0,24,40,48"], "share 240 pixels"),
        (["--model", "tiny", *TWO, "--speakers", "me.png", "--speakers", "none.png"], "none.png does not exist"),
        (["--model", "tiny", *TWO, "--turns", "both"], "both"),
        (["--model", "tiny", "--input", "none.json"], "none.json"),
        (["--model", "tiny", "--input", "me.png"], "me.png"),
        (["--model", "tiny", "--audio", "silence"], "all of them are silent"),
        (["--model", "tiny", "--seconds", "1", "--portrait", "me.png", "--show-speakers", "a.png"], "no voice"),
        (["--model", "tiny", *TWO, "--show-speakers", "me.png"], "would replace"),
    ],
)
def test_people_who_cannot_be_shown_are_refused_in_one_sentence(
    arguments: list[str], told: str, two: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = (two / "me.png").read_bytes()
    assert run(["generate", *arguments]) == 2
    shown = capsys.readouterr()
    assert told in shown.err
    assert shown.err.count("error:") == 1
    assert not list(two.rglob("run.json"))
    assert (two / "me.png").read_bytes() == held


def test_weights_anywhere_and_loras_beside_them(
    here: Path, tiny_weights: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "mine").symlink_to(tiny_weights / "tiny")
    write_lora(here / "style.safetensors", {"blocks.0.attn.proj": (32, 32, 1)})
    monkeypatch.delenv("ENLIVEN_WEIGHTS")
    talk = ["generate", "--weights", "mine", "--seconds", "0.4", "--steps", "1"]
    assert run([*talk, "-o", "plain.mp4"]) == 0
    assert run([*talk, "--lora", "style.safetensors:2", "-o", "styled.mp4"]) == 0
    shown = capsys.readouterr().out
    assert after("model", shown).startswith("tiny, 1 steps")
    styled = (here / "styled.mp4").read_bytes()
    assert styled != (here / "plain.mp4").read_bytes()
    again = [line for line in shown.splitlines() if line.startswith("again")][-1]
    (here / "styled.mp4").unlink()
    assert run(shlex.split(again.removeprefix("again"))[1:]) == 0
    assert (here / "styled.mp4").read_bytes() == styled
    assert run([*talk, "--lora", "missing.safetensors"]) == 1
    assert f"no LoRA at {here / 'missing.safetensors'}" in capsys.readouterr().err
    assert run([*talk, "--expressiveness", "2"]) == 2
    assert "tiny has no expressiveness" in capsys.readouterr().err
