"""What is asked of groups: the truth about exchanged roles, places, and each person alone."""

import torch

from bench_cases import case
from enliven.bench.groups import Kind, each_alone, exchanged, group_cases
from enliven.data.groups import Talk, make_group
from enliven.toonworld.character import sample_character
from enliven.toonworld.draw import draw

FACE = (slice(50, 84), slice(52, 76))  # rows and columns of 128 in which nothing but a face is


def speech(count: int) -> list:
    return [case(1.0, seed).speech for seed in range(count)]


def test_each_person_of_a_pair_is_framed_as_alone() -> None:
    clip = make_group(3, speech(2), talk=Talk.TURNS, frames=30)
    for index, seen in enumerate(each_alone(clip.frames, 2)):
        alone = draw(sample_character(clip.characters[index]), clip.states[index]) * 255
        assert seen.shape == (30, 3, 128, 128)
        assert (seen.float() - alone)[..., *FACE].abs().max() < 1


def test_who_is_exchanged_moves_as_before_and_says_what_the_other_said() -> None:
    clip = make_group(3, speech(2), frames=20, size=(32, 64))
    other = exchanged(clip)
    assert torch.equal(other.voices, clip.voices.flip(0))
    assert torch.equal(other.states[0].mouth_open, clip.states[1].mouth_open)
    assert torch.equal(other.states[0].yaw, clip.states[0].yaw)
    assert not torch.equal(other.frames, clip.frames)
    assert torch.equal(exchanged(other).frames, clip.frames)


def test_all_kinds_start_from_one_picture_and_one_of_them_tells_the_places() -> None:
    cases = {each.kind: each for each in group_cases(0, speech(3))}
    assert set(cases) == set(Kind)
    assert all(torch.equal(each.portrait, cases[Kind.ONE].clip.frames[0]) for each in cases.values())
    assert [each.kind for each in cases.values() if each.places] == [Kind.PLACED]
    for box, head in zip(cases[Kind.PLACED].places, cases[Kind.ONE].clip.heads.tolist(), strict=True):
        assert box.left <= (head[1] + head[3]) / 2 <= box.right
    heard = {kind: each.speaks for kind, each in cases.items()}
    assert sum(heard[Kind.ONE]) == sum(heard[Kind.EXCHANGED]) == 1
    assert heard[Kind.ONE] != heard[Kind.EXCHANGED]
    assert heard[Kind.TURNS] == [True] * 3
