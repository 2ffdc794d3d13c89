"""Tests of clips that are not where their pivot is."""

import random
from dataclasses import fields

import torch

from enliven.data.clips import make_clip
from enliven.data.moves import elsewhere, make_move
from enliven.toonworld.character import Scene, caption, place, sample_character

CHANGING = {"scene", "wall", "decor", "shirt", "cloth"}


def test_the_caption_says_what_the_clip_shows_and_not_what_the_pivot_shows() -> None:
    said, ways = set[str](), set[tuple[bool, bool]]()
    for seed in range(16):
        clip, home = make_move(seed, None, frames=2, size=(16, 16)), make_clip(seed, None, frames=2, size=(16, 16))
        pivot = clip.frames if clip.pictured is None else clip.pictured
        assert torch.equal(pivot, home.frames)
        moved = not torch.equal(clip.frames, home.frames)
        assert moved == (clip.caption != home.caption)
        assert moved or clip.before is not None, "somebody who is at home has come from somewhere"
        assert clip.before is None or not torch.equal(clip.before, clip.frames)
        assert torch.equal(clip.state.stack(), home.state.stack())
        ways.add((moved, clip.before is None))
        said.add(clip.caption)
    assert ways == {(True, True), (True, False), (False, False)}
    assert len(said) == 16


def test_only_place_and_sweater_change() -> None:
    chance = random.Random(0)
    for seed in range(20):
        person = sample_character(seed)
        other = elsewhere(person, chance)
        differ = {field.name for field in fields(person) if getattr(person, field.name) != getattr(other, field.name)}
        assert differ <= CHANGING
        assert differ & {"scene", "wall"}


def test_a_caption_always_tells_of_a_move() -> None:
    """The wall behind a sun has no name: another one there would be a move that nobody could know of."""
    chance = random.Random(0)
    suns = [person for person in map(sample_character, range(400)) if person.scene is Scene.SUN]
    assert len(suns) > 20
    for person in suns * 5:
        other = elsewhere(person, chance)
        assert place(other) != place(person)
        assert caption(other) != caption(person)
