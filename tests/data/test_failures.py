"""Tests of failures as training clips."""

import torch

from enliven.data.clips import ToonClip, make_clip
from enliven.data.failures import CAPTIONS, make_failure
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
