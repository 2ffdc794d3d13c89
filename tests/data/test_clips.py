"""Tests of drawn clips: repeatable, sound and mouth together, the same after the disk."""

from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from enliven.data.clips import FPS, RATE, StoredFrames, load_clip, make_clip, save_clip, shrunk
from enliven.toonworld.voice import Phone, Speech

SIZE = (32, 32)


def word(lead: float, seconds: float) -> Speech:
    """``lead`` seconds of pause, one loud open vowel of 0.4 seconds, a pause."""
    samples = torch.zeros(round(seconds * RATE))
    first, stop = round(lead * RATE), round((lead + 0.4) * RATE)
    samples[first:stop] = 0.5
    phones = (Phone("", 0.0, lead), Phone("æ", lead, lead + 0.4), Phone("", lead + 0.4, seconds))
    return Speech(samples, phones, "ah", "v")


@pytest.mark.parametrize(("lead", "seconds"), [(0.3, 1.0), (1.2, 2.4), (0.0, 0.4)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_mouth_is_open_where_the_sound_is(lead: float, seconds: float, seed: int) -> None:
    """In shorter speech, in longer speech that is cut, and where nothing is left around the sound."""
    clip = make_clip(seed, word(lead, seconds), frames=41, size=SIZE)
    assert clip.samples.shape[0] == 41 * RATE // FPS
    loud = clip.samples.view(41, -1).abs().mean(dim=1)
    opened = clip.state.mouth_open > 0.5
    inside = (loud > 0.45).nonzero()[:, 0][2:-2]
    assert opened[inside].all()
    far = torch.nn.functional.max_pool1d((loud > 0)[None].float(), 7, 1, 3)[0] == 0
    assert not opened[far].any()
    assert (clip.state.mouth_open[far] < 0.2).all()
    assert not clip.silent


def test_places_of_speech_differ_and_reach_both_ends() -> None:
    starts = set()
    for seed in range(12):
        clip = make_clip(seed, word(0.0, 0.4), frames=12, size=(8, 8), character=0)
        starts.add(int(clip.samples.nonzero()[0]) // 640)
    assert starts == {0, 1, 2}


def test_the_same_seed_is_the_same_clip_and_another_is_not() -> None:
    first, again, other = (make_clip(seed, word(0.1, 0.6), frames=9, size=SIZE) for seed in (3, 3, 4))
    assert torch.equal(first.frames, again.frames)
    assert torch.equal(first.samples, again.samples)
    assert not torch.equal(first.frames, other.frames)
    assert first.frames.float().std() > 10


def test_a_silent_clip_moves_as_a_spoken_one_with_a_closed_mouth() -> None:
    silent, spoken = (make_clip(5, speech, frames=30, size=(8, 8)) for speech in (None, word(0.1, 0.6)))
    assert silent.silent
    assert silent.samples.abs().max() == 0
    assert silent.state.mouth_open.max() == 0
    mouths = {"mouth_open", "mouth_width", "mouth_round", "teeth", "tongue"}
    assert spoken.state.mouth_open.max() > 0.5
    for name in {field.name for field in fields(silent.state)} - mouths:
        assert torch.equal(getattr(silent.state, name), getattr(spoken.state, name)), name
    assert silent.state.yaw.std() > 0


def test_one_character_may_do_many_things() -> None:
    one, two = (make_clip(seed, None, character=7, frames=2, size=(8, 8)) for seed in (1, 2))
    assert one.caption == two.caption
    assert one.character == two.character == 7
    assert not torch.equal(one.state.yaw, two.state.yaw)


def test_the_disk_gives_back_what_it_took(tmp_path: Path) -> None:
    clip = make_clip(11, word(0.1, 0.5), frames=5, size=SIZE)
    save_clip(clip, tmp_path / "clip.safetensors")
    back = load_clip(tmp_path / "clip.safetensors")
    assert torch.equal(back.frames, clip.frames)
    assert torch.equal(back.state.stack(), clip.state.stack())
    torch.testing.assert_close(back.samples, clip.samples, atol=1e-3, rtol=0)
    assert (back.character, back.caption, back.silent) == (clip.character, clip.caption, clip.silent)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.safetensors"]


def test_stored_frames_are_those_of_the_clips_in_order(tmp_path: Path) -> None:
    paths = [tmp_path / f"{seed}.safetensors" for seed in range(3)]
    clips = [make_clip(seed, None, frames=2, size=(8, 8)) for seed in range(3)]
    for path, clip in zip(paths, clips, strict=True):
        save_clip(clip, path)
    stored = StoredFrames(paths)
    assert len(stored) == 3
    assert all(torch.equal(frames, clip.frames) for frames, clip in zip(stored, clips, strict=True))
    assert torch.equal(stored[1:][0], clips[1].frames)
    assert torch.equal(stored[-1], clips[2].frames)


def test_a_clip_may_go_on_from_what_its_pivot_shows(tmp_path: Path) -> None:
    clip = make_clip(1, None, frames=2, size=(8, 8))
    pictured = 255 - clip.frames
    save_clip(replace(clip, pictured=pictured, before=pictured), tmp_path / "clip.safetensors")
    back = load_clip(tmp_path / "clip.safetensors")
    assert torch.equal(back.pictured, pictured)
    assert torch.equal(back.before, pictured)


def test_what_pivots_show_and_what_was_before_is_kept_and_shrunk_too(tmp_path: Path) -> None:
    clip = make_clip(1, None, frames=3, size=(32, 32))
    moved = replace(clip, pictured=clip.frames.flip(0), before=255 - clip.frames)
    save_clip(moved, tmp_path / "moved.safetensors")
    small, plain = shrunk(load_clip(tmp_path / "moved.safetensors"), 2), shrunk(clip, 2)
    assert small.frames.shape == (3, 3, 16, 16)
    assert small.pictured is not None
    assert small.before is not None
    assert torch.equal(small.pictured, plain.frames.flip(0))
    assert (small.before.int() - (255 - plain.frames.int())).abs().max() <= 1
    assert plain.pictured is plain.before is None
