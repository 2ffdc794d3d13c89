"""The drawn world from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from enliven.bench.cases import KEPT_OUT
from enliven.cli import run
from enliven.data import world
from enliven.data.clips import load_clip
from enliven.media.video import read_video
from enliven.toonworld.find_faces import find_faces
from enliven.toonworld.voice import shipped_speech


def test_the_same_seed_draws_the_same_person(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert run(["toon", "portrait", "--seed", "3", "--size", "64", "-o", str(tmp_path / f"{name}.png")]) == 0
    assert run(["toon", "portrait", "--seed", "4", "--size", "64", "-o", str(tmp_path / "c.png")]) == 0
    first, again, other = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert first == again != other
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (64, 64)


def test_several_people_stand_side_by_side_and_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for people, width in ((1, 128), (2, 224), (3, 320)):
        path = tmp_path / f"{people}.png"
        assert run(["toon", "portrait", "--seed", "21", "--people", str(people), "-o", str(path)]) == 0
        assert capsys.readouterr().out.count("A cartoon") == people
        with Image.open(path) as picture:
            assert picture.size == (width, 128)
            faces = find_faces(torch.from_numpy(np.array(picture)).permute(2, 0, 1))
        assert len(faces) == people


def test_a_drawn_clip_comes_with_its_truth(tmp_path: Path) -> None:
    path = tmp_path / "new" / "clip.mp4"
    assert run(["toon", "clip", "--speech", "hello", "--seconds", "1", "--size", "32", "-o", str(path)]) == 0
    video = read_video(path, sound=True)
    truth = json.loads(path.with_suffix(".json").read_text())
    assert video.frames.shape[0] == len(truth["state"]["mouth_open"]) == 25
    assert video.audio is not None
    assert video.audio.samples.abs().max() > 0.05
    assert max(truth["state"]["mouth_open"]) > 0.3
    assert truth["text"].startswith("Hello")


def test_a_stopped_data_set_goes_on_where_it_was(tmp_path: Path) -> None:
    arguments = ["toon", "dataset", "-o", str(tmp_path), "--frames", "5", "--seed", "6", "--count"]
    assert run([*arguments, "1"]) == 0
    (first,) = tmp_path.glob("*.safetensors")
    written = first.stat().st_mtime_ns
    assert run([*arguments, "2"]) == 0
    drawn = [load_clip(path) for path in sorted(tmp_path.glob("*.safetensors"))]
    assert first.stat().st_mtime_ns == written
    assert [clip.frames.shape[0] for clip in drawn] == [5, 5]
    assert drawn[0].character != drawn[1].character


def test_a_data_set_says_no_held_out_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoken: list[str] = []
    monkeypatch.setattr(world, "render_clips", lambda folder, speech, *_, **__: spoken.extend(p.stem for p in speech))
    assert run(["toon", "dataset", "-o", str(tmp_path)]) == 0
    assert sorted([*spoken, *KEPT_OUT]) == shipped_speech()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["portrait", "--size", "7"], "--size 7"),
        (["portrait", "--people", "4"], "1 to 3"),
        (["portrait", "-o", "me.gif"], "me.png"),
        (["clip", "--speech", "nobody"], "hello"),
        (["clip", "--seconds", "nan"], "nan"),
        (["dataset", "--count", "0"], "0 clips"),
    ],
)
def test_what_cannot_be_drawn_is_refused(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["toon", *arguments]) == 2
    assert told in capsys.readouterr().err
