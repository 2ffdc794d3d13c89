"""Tests of the world as a source of clips."""

from pathlib import Path

import torch

from enliven.data.clips import load_clip
from enliven.data.failures import CAPTIONS
from enliven.data.world import World, render_clips
from enliven.toonworld.voice import load_speech, write_speech


def test_drawing_goes_on_where_it_stopped(tmp_path: Path) -> None:
    write_speech(load_speech("question"), tmp_path / "speech/ah.flac")
    speech, folder = [tmp_path / "speech/ah.flac"], tmp_path / "clips"
    render_clips(folder, speech, range(2), World(2, silent=0.0))
    first = folder / "0000000.safetensors"
    drawn = load_clip(folder / "0000001.safetensors")
    first.write_bytes(b"kept")
    (folder / "0000001.safetensors").unlink()
    (folder / "0000002.new").write_bytes(b"half of a clip")
    render_clips(folder, speech, range(3), World(2, silent=0.0))
    assert first.read_bytes() == b"kept"
    assert sorted(path.name for path in folder.iterdir()) == [f"{seed:07}.safetensors" for seed in range(3)]
    assert torch.equal(load_clip(folder / "0000001.safetensors").frames, drawn.frames)
    render_clips(tmp_path / "quiet", [], range(1), World(2, silent=1.0))
    assert load_clip(tmp_path / "quiet/0000000.safetensors").silent


def test_clips_are_drawn_at_the_size_asked_for_and_show_the_same(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    render_clips(small, [], range(1), World(2, (32, 32), silent=1.0))
    render_clips(large, [], range(1), World(2, (64, 96), silent=1.0))
    one, other = (load_clip(folder / "0000000.safetensors").frames.float() for folder in (small, large))
    assert other.shape == (2, 3, 64, 96)
    middle = torch.nn.functional.avg_pool2d(other[..., 16:80], 2)
    assert (middle - one).abs().mean() < 6


def test_some_clips_show_nobody() -> None:
    world = World(1, (8, 8), silent=1.0, sights=0.3)
    silent = [len(world.clip(seed, []).samples) == 0 for seed in range(200)]
    assert 0.2 < sum(silent) / 200 < 0.4
    assert torch.equal(world.clip(7, []).frames, world.clip(7, []).frames)


def test_some_people_fail_and_some_are_elsewhere() -> None:
    world = World(1, (8, 8), silent=1.0, sights=0.2, failures=0.2, moves=0.3)
    made = [world.clip(seed, []) for seed in range(80)]
    failed = [clip.caption in CAPTIONS for clip in made]
    moved = [
        not bad and (clip.pictured is not None or clip.before is not None)
        for clip, bad in zip(made, failed, strict=True)
    ]
    assert 0.1 < sum(failed) / 80 < 0.3
    assert 0.18 < sum(moved) / 80 < 0.42
    plain = World(1, (8, 8), silent=1.0, sights=0.2)
    usual = [seed for seed in range(80) if not failed[seed] and not moved[seed]][::5]
    assert all(torch.equal(plain.clip(seed, []).frames, made[seed].frames) for seed in usual)
