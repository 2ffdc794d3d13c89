"""Tests of failures as training clips."""

import torch

from enliven.data.clips import ToonClip, make_clip
from enliven.data.failures import CAPTIONS, failure_name, make_failure, shows_failure
from enliven.toonworld.failures import NEGATIVE_PROMPT
from enliven.toonworld.voice import load_speech


def failures(count: int = 24) -> list[ToonClip]:
    return [make_failure(seed, load_speech("question"), frames=5, size=(16, 16)) for seed in range(count)]


def test_the_pivot_is_as_it_should_be_and_the_clip_is_not() -> None:
    for seed, clip in enumerate(failures(8)):
        clean = make_clip(seed, load_speech("question"), frames=5, size=(16, 16))
        assert clip.pictured is not None
        assert torch.equal(clip.pictured, clean.frames)
        assert clip.before is None or torch.equal(clip.before, clean.frames)
        assert not torch.equal(clip.frames, clean.frames)


def test_half_are_told_the_negative_prompt_half_are_deaf_and_half_go_on_from_a_clean_clip() -> None:
    made = failures()
    assert {clip.caption for clip in made} <= CAPTIONS
    kinds = [
        [clip.caption == NEGATIVE_PROMPT for clip in made],
        [len(clip.samples) == 0 for clip in made],
        [clip.before is None for clip in made],
    ]
    for kind in kinds:
        assert 0.25 < sum(kind) / len(kind) < 0.75
    assert len(set(zip(*kinds, strict=True))) >= 6


def test_failures_are_known_by_what_is_said_of_them_or_by_their_names() -> None:
    assert all(shows_failure(clip.caption, "toon 1") for clip in failures(4))
    for source in ("toon 7", "films/a failure 1.mp4"):
        assert not shows_failure("a man", source)
        for seed in (0, 12, -1):
            assert shows_failure("still lips", failure_name(source, 93, seed))
    assert not shows_failure(None)
