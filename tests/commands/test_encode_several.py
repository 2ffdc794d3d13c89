"""``enliven encode`` of films with several people, from files beside them to a step of training."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from enliven.cli import run
from enliven.data.encoded import EncodedClip
from enliven.data.manifest import read_manifest
from enliven.data.order import Order
from enliven.data.shards import ShardReader
from enliven.diffusion.clips import ClipGeometry
from enliven.media.mux import write_video
from enliven.train.batches import Drops
from enliven.train.flow import FlowObjective
from enliven.train.sources import Source, Telling, open_sources, read_sources
from enliven.train.trainer import TrainConfig, Trainer
from enliven.types import Audio, Text, Video
from tiny import tiny_networks, tiny_spec, write_speech

ENCODE = ["encode", "films", "--frames", "25"]
SQUARE = ["--model", "tiny", "--size", "32x32"]
WIDE = ["--model", "tiny", "--size", "64x32"]
TWO: dict[str, Any] = {
    "prompt": "Two people talk.",
    "cond_audio": {"person1": "her.wav", "person2": "him.wav"},
    "bbox": {"person1": [0, 0, 40, 60], "person2": [0, 60, 40, 120]},
}


@pytest.fixture
def films(here: Path) -> Path:
    """Two films of a second, 120 x 40 pixels: she speaks in the first half, he in the second."""
    folder = here / "films"
    folder.mkdir()
    spoken = write_speech(here / "half.wav", 0.5).read_bytes()[44:]
    quiet = bytes(len(spoken))
    write_speech(here / "elsewhere.wav", 1.0)
    write_speech(folder / "short.wav", 0.4)
    frames = torch.randint(255, (25, 3, 40, 120), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    header = write_speech(here / "whole.wav", 1.0).read_bytes()[:44]
    for name in ("one", "other"):
        write_video(Video(frames, 25, Audio(torch.zeros(1, 16_000), 16_000)), folder / f"{name}.mp4")
    (folder / "her.wav").write_bytes(header + spoken + quiet)
    (folder / "him.wav").write_bytes(header + quiet + spoken)
    return folder


def tell(films: Path, name: str, **changes: Any) -> None:
    (films / f"{name}.speakers.json").write_text(json.dumps(TWO | changes))


def encoded(folder: str = "shards") -> dict[str, EncodedClip]:
    manifest, reader = read_manifest(Path(folder)), ShardReader(Path(folder))
    rows = [manifest.row(index) for index in range(len(manifest))]
    return {Path(row.source).stem: reader.read(row) for row in rows}


def test_every_person_has_a_voice_and_a_place_in_shards(films: Path) -> None:
    tell(films, "one")
    (films / "other.txt").write_text("nobody speaks")
    assert run([*ENCODE, *WIDE, "-o", "shards"]) == 0
    assert read_manifest(Path("shards")).column("people").tolist() == [2, 1]
    several, alone = encoded()["one"], encoded()["other"]
    assert (several.caption, alone.caption) == ("Two people talk.", "nobody speaks")
    assert several.heads is not None
    assert several.heads.boxes.tolist() == [[0, 0, 32, 32], [0, 32, 32, 64]]
    assert (several.heads.size, several.heads.whole) == ((32, 64), True)
    assert (several.silent, alone.silent, alone.heads) == (False, True, None)
    her, him = several.audio
    assert her.shape == alone.audio[0].shape
    assert several.mouth.shape == (2, 25, 5)
    (films / "her.wav").rename(films / "tmp")
    (films / "him.wav").rename(films / "her.wav")
    (films / "tmp").rename(films / "him.wav")
    assert run([*ENCODE, *WIDE, "-o", "swapped"]) == 0
    assert torch.equal(encoded("swapped")["one"].audio, torch.stack([him, her]))


@pytest.mark.parametrize(("sound", "heard"), [("silence", True), ("null", False)])
def test_nobody_is_heard_where_that_is_asked_for(sound: str, heard: bool, films: Path) -> None:
    tell(films, "one")
    assert run([*ENCODE, *WIDE, "--sound", sound, "-o", "shards"]) == 0
    clip = encoded()["one"]
    assert len(clip.audio) == 2
    assert bool(clip.audio.any()) is heard
    assert clip.silent is heard
    assert torch.equal(clip.audio[0], clip.audio[1]), "one noise floor for all"


@pytest.mark.parametrize(
    ("changes", "asked", "told"),
    [
        ({"bbox": {"person1": [0, 0, 41, 60], "person2": [0, 60, 40, 120]}}, WIDE, "leaves the picture"),
        ({"cond_audio": {"person1": "her.wav", "person2": "nobody.wav"}}, WIDE, "nobody.wav"),
        (
            {"cond_audio": {"person1": "her.wav", "person2": "short.wav"}},
            WIDE,
            "short.wav lasts 0.4 s, and the film",
        ),
        (
            {"cond_audio": {"person1": "her.wav", "person2": "../elsewhere.wav"}},
            WIDE,
            "elsewhere.wav is not in the folder of the film",
        ),
        ({"bbox": {"person1": [0, 0, 40, 9], "person2": [0, 60, 40, 120]}}, SQUARE, "nothing of speaker 1 is left"),
        ({}, ["--model", "tiny-soul"], "2 people speak, and the model hears 1"),
    ],
)
def test_what_is_told_wrongly_is_a_bad_file_and_stops_nothing(
    changes: dict[str, Any], asked: list[str], told: str, films: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tell(films, "one", **changes)
    assert run([*ENCODE, *asked, "-o", "shards"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "1 clips more, 1 in all" in shown
    assert "1 were left out" in shown
    assert told in shown
    assert list(encoded()) == ["other"]


def test_a_backbone_of_several_voices_learns_from_them(films: Path) -> None:
    for name in ("one", "other"):
        tell(films, name)
    assert run([*ENCODE, *WIDE, "-o", "shards"]) == 0
    spec = tiny_spec(geometry=ClipGeometry(frames=13, context=5, fps=25))
    telling = Telling(drops=Drops(0, 0, 0))
    found = read_sources([Source(Path("shards"))])
    mix = open_sources(found, spec, tiny_networks().audio, nothing_said, telling, Order(size=2))
    told = mix.make()["cond"]
    assert told.audio.shape[:2] == (2, 2)
    assert told.regions.shape == (2, 3, 32, 64)
    assert not told.regions[:, 2].any(), "the two share all of the picture"
    backbone = tiny_networks().backbone.requires_grad_(requires_grad=True)
    trainer = Trainer(TrainConfig(Path("run"), steps=2, dtype="float32"), FlowObjective(backbone), mix)
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trainer.fit()
    moved = [name for name, value in trainer.network.state_dict().items() if not torch.equal(value, before[name])]
    assert any("audio" in name for name in moved)


def nothing_said(captions: Sequence[str]) -> Text:
    return Text(torch.zeros(len(captions), 2, 16))
