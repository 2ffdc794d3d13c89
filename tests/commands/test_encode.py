"""``enliven encode`` from videos to shards."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from enliven.cli import run
from enliven.commands.encode import process_of
from enliven.data.clips import ToonClip
from enliven.data.manifest import read_manifest
from enliven.data.order import Order, Process
from enliven.data.shards import ShardReader
from enliven.data.streams import ClipStream
from enliven.data.world import World
from enliven.diffusion.clips import ClipGeometry
from enliven.errors import ConfigError
from enliven.media import vocals
from enliven.media.mux import write_video
from enliven.media.video import encode_segment
from enliven.models.networks import save_networks
from enliven.train.sources import Source, Telling, features_per_frame, open_sources, read_sources
from enliven.types import Audio, Text, Video
from tiny import tiny_networks, tiny_spec

ENCODE = ["encode", "--model", "tiny", "--frames", "13", "-o", "shards"]


@pytest.fixture
def films(here: Path) -> Path:
    """A film of 30 frames that speaks, one of 14 that is mute, and one that is none."""
    folder = here / "films"
    folder.mkdir()
    frames = torch.randint(255, (30, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    noise = 0.2 * torch.randn(1, 19_200, generator=torch.Generator().manual_seed(0))
    write_video(Video(frames, 25, Audio(noise, 16_000)), folder / "speaks.mp4")
    (folder / "speaks.txt").write_text("a man")
    encode_segment([frames[:14]], 25.0, folder / "mute.mp4")
    (folder / "torn.mp4").write_bytes((folder / "mute.mp4").read_bytes()[:900])
    return folder


def test_videos_become_shards_and_bad_ones_are_told(films: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*ENCODE, str(films)]) == 0
    shown = capsys.readouterr()
    assert "3 clips more, 3 in all" in shown.out
    assert "1 were left out" in shown.out
    assert "torn.mp4" in shown.out
    assert "encoding: 3/3" in shown.err
    manifest = read_manifest(Path("shards"))
    rows = [manifest.row(index) for index in range(3)]
    assert [(Path(row.source).stem, row.start, row.caption) for row in rows] == [
        ("mute", 0, ""),
        ("speaks", 0, "a man"),
        ("speaks", 13, "a man"),
    ]
    clips = [ShardReader(Path("shards")).read(row) for row in rows]
    assert [clip.silent for clip in clips] == [True, False, False]
    assert all(clip.audio.any() for clip in clips)
    assert clips[0].latents.shape == (4, 4, 4, 4)


@pytest.mark.parametrize(
    ("asked", "heard", "silent"),
    [
        (["--model", "tiny"], [True, True], [True, False]),
        (["--model", "tiny-soul"], [False, True], [False, False]),
        (["--model", "tiny-soul", "--sound", "silence"], [True, True], [True, True]),
        (["--model", "tiny", "--sound", "null"], [False, False], [False, False]),
    ],
)
def test_what_is_heard_is_as_the_model_was_taught_or_as_asked(
    asked: list[str], heard: list[bool], silent: list[bool], films: Path
) -> None:
    (films / "torn.mp4").unlink()
    assert run(["encode", *asked, "--frames", "13", "-o", "shards", str(films), "--toon", "1", "--sights", "1"]) == 0
    manifest, reader = read_manifest(Path("shards")), ShardReader(Path("shards"))
    clips = {manifest.row(index).source: reader.read(manifest.row(index)) for index in range(len(manifest))}
    mute, speaks, drawn = clips.values()
    assert [bool(clip.audio.any()) for clip in (mute, speaks)] == heard
    assert [clip.silent for clip in (mute, speaks)] == silent
    assert (bool(drawn.audio.any()), drawn.silent) == (heard[0], silent[0])


@pytest.mark.parametrize(("asked", "features"), [(["tiny", "16"], 2), (["tiny", "25"], 1), (["tiny-soul", "10"], 5)])
def test_clips_of_another_frame_rate_have_whole_features_for_a_frame(
    asked: list[str], features: int, films: Path
) -> None:
    model, fps = asked
    encode = ["encode", "--model", model, "--fps", fps, "--frames", "9", "-o", "shards", str(films / "speaks.mp4")]
    assert run(encode) == 0
    manifest = read_manifest(Path("shards"))
    assert len(manifest) == int(1.2 * int(fps) // 9)
    assert features_per_frame(manifest, Path("shards")) == features


def test_a_backbone_learns_from_two_frame_rates(films: Path) -> None:
    for fps, length in (("25", "25"), ("16", "17")):
        asked = ["--model", "tiny", "--fps", fps, "--frames", length, "-o", fps]
        assert run(["encode", *asked, str(films / "speaks.mp4")]) == 0
    found = read_sources([Source(Path("25")), Source(Path("16"))])
    spec = tiny_spec(geometry=ClipGeometry(frames=13, context=5, fps=25))
    mix = open_sources(found, spec, tiny_networks().audio, nothing_said, Telling(), Order(size=1))
    assert [batches.listening.stride for batches in mix.kinds] == [1, 2]
    drawn = [mix.make()["cond"].audio for _ in range(8)]
    assert {audio.shape[-3:] for audio in drawn} == {(5, 2, 16)}
    assert all(batches.stream.step for batches in mix.kinds)


def nothing_said(captions: Sequence[str]) -> Text:
    return Text(torch.zeros(len(captions), 2, 16))


def test_a_frame_rate_that_does_not_fit_is_refused(films: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["encode", "--model", "tiny-soul", "--fps", "16", "-o", "shards", str(films)]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "--fps 16 does not fit tiny-soul: hidden states of Whisper come 50 a second, not 48" in told
    assert "give one that 50 is a multiple of, such as 25" in told
    assert run([*ENCODE, str(films), "--fps", "0"]) == 2
    assert "--fps 0 is no frame rate" in capsys.readouterr().err
    assert run([*ENCODE, "--toon", "1", "--fps", "16"]) == 2
    assert "the drawn world has 25 frames a second, not 16" in capsys.readouterr().err


def test_clips_of_another_frame_rate_do_not_come_into_the_same_folder(
    films: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*ENCODE, str(films / "mute.mp4")]) == 0
    made_by = Path("shards/encoders.json")
    before = json.loads(made_by.read_text())
    del before["fps"]  # as it was written before there was a choice
    made_by.write_text(json.dumps(before))
    assert run([*ENCODE, str(films / "speaks.mp4"), "--fps", "16"]) == 2
    assert "holds clips of 25 frames a second, not 16" in capsys.readouterr().err
    assert run([*ENCODE, str(films / "speaks.mp4"), "--fps", "25"]) == 0


def test_the_same_again_encodes_nothing_twice(films: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*ENCODE, str(films)]) == 0
    capsys.readouterr()
    assert run([*ENCODE, str(films), "--toon", "1"]) == 0
    shown = capsys.readouterr().out
    assert "1 clips more, 4 in all" in shown
    assert "2 of 4 were done already" in shown
    assert "changed" not in shown
    (films / "mute.txt").write_text("a caption that came later")
    assert run([*ENCODE, str(films)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "changed 1 of those since; a new folder would have them anew" in shown


def test_a_film_too_short_is_told_and_taken_when_shorter_clips_are_asked_for(
    films: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = [str(films / "mute.mp4"), str(films / "speaks.mp4")]
    assert run(["encode", "--model", "tiny", "--frames", "17", "-o", "shards", *two]) == 0
    shown = capsys.readouterr().out
    assert "1 clips more, 1 in all" in shown
    assert "mute.mp4 has 14 frames, a clip needs 17; ask for shorter clips with --frames" in " ".join(shown.split())
    assert run([*ENCODE, *two]) == 0
    shown = capsys.readouterr().out
    assert "1 clips more, 2 in all" in shown
    assert "1 of 2 were done already" in shown


def test_the_drawn_world_becomes_shards_to_train_on(here: Path) -> None:
    for part in ("0/2", "1/2"):
        assert run([*ENCODE, "--toon", "4", "--seed", "7", "--sights", "0.5", "--part", part]) == 0
    manifest = read_manifest(Path("shards"))
    assert set(manifest.column("source")) == {f"toon {seed}" for seed in range(7, 11)}
    assert len(manifest) == 4
    names, clips = next(ClipStream([(1.0, Path("shards"))], Order(size=4)))
    assert len(set(names)) == 4
    assert {clip.latents.shape for clip in clips} == {(4, 4, 4, 4)}
    assert all(clip.caption for clip in clips)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ([], "nothing to encode"),
        (["--toon", "1", "--frames", "12"], "--frames 12"),
        (["--toon", "1", "--size", "30x32"], "--size 30x32"),
        (["--toon", "1", "--sights", "2"], "--sights 2"),
        (["--toon", "1", "--part", "2/2"], "--part '2/2'"),
        (["missing.csv"], "list of videos"),
        (["speech.wav"], "list of videos"),
    ],
)
def test_what_cannot_be_encoded_is_refused(
    wrong: list[str], told: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["encode", "--model", "tiny", "-o", "shards", *wrong]) == 2
    assert told in capsys.readouterr().err


def test_a_voice_that_cannot_be_parted_is_told_before_anything_is_encoded(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*ENCODE, "--toon", "1", "--vocals", "center"]) == 1
    assert "'center' is neither 'centre' nor there" in capsys.readouterr().err
    assert not Path("shards").exists()


def test_what_parts_the_voice_is_read_once_for_all_films(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(films / "speaks.mp4", films / "again.mp4")
    found, heard = [], []

    class Heard(vocals.Centre):
        def __call__(self, sound: Audio) -> Audio:
            heard.append(sound.rate)
            return super().__call__(sound)

    monkeypatch.setattr(vocals, "find_separator", lambda name: found.append(name) or Heard())
    assert run([*ENCODE, str(films), "--vocals", "centre"]) == 0
    assert found == ["centre"]
    assert len(heard) == 2


def test_clips_of_other_encoders_do_not_come_into_the_same_folder(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_networks(tiny_networks(seed=1), here / "other")
    assert run([*ENCODE, "--toon", "1"]) == 0
    assert run([*ENCODE, "--toon", "2", "--weights", "other"]) == 2
    assert "holds clips of other encoders, those of tiny" in capsys.readouterr().err
    assert run([*ENCODE, "--toon", "2"]) == 0
    assert len(read_manifest(Path("shards"))) == 2


def test_bad_files_alone_make_nothing_and_say_so(films: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*ENCODE, str(films / "torn.mp4")]) == 2
    assert "not one clip" in capsys.readouterr().err


def test_a_stopped_encoding_keeps_what_it_made_and_says_how_to_go_on(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = World.clip

    def stop(world: World, seed: int, speech: Sequence[Path]) -> ToonClip:
        if seed == 2:
            raise KeyboardInterrupt
        return drawn(world, seed, speech)

    with monkeypatch.context() as change:
        change.setattr(World, "clip", stop)
        assert run([*ENCODE, "--toon", "4"]) == 130
    assert "goes on where it was" in capsys.readouterr().err
    assert read_manifest(Path("shards")).column("source").tolist() == ["toon 0", "toon 1"]
    assert run([*ENCODE, "--toon", "4"]) == 0
    assert "2 clips more, 4 in all" in capsys.readouterr().out


@pytest.mark.parametrize("part", ["", "1", "a/2", "-1/2", "3/3"])
def test_parts_that_are_none_are_refused(part: str) -> None:
    assert process_of("2/3") == Process(2, 3)
    with pytest.raises(ConfigError, match="no part of a whole"):
        process_of(part)
