"""Clips of several people: the right mouth with the right sound, the truth about places."""

from pathlib import Path

import pytest
import torch

from enliven.data.clips import FPS, RATE
from enliven.data.groups import GroupClip, Talk, any_group, make_group
from enliven.errors import RequestError
from enliven.toonworld.voice import Phone, Speech, write_speech

SIZE = (32, 80)
FRAMES = 41


def vowel(seconds: float, loud: float = 0.5) -> Speech:
    """One open vowel."""
    phones = (Phone("æ", 0.0, seconds),)
    return Speech(torch.full((round(seconds * RATE),), loud), phones, "ah", "v")


def heard(clip: GroupClip) -> torch.Tensor:
    """Which person sounds in which frame."""
    return clip.voices.unflatten(1, (FRAMES, RATE // FPS)).abs().mean(2) > 0.2


def opened(clip: GroupClip) -> torch.Tensor:
    return torch.stack([state.mouth_open for state in clip.states]) > 0.5


def near(frames: torch.Tensor, reach: int) -> torch.Tensor:
    return torch.nn.functional.max_pool1d(frames.float()[:, None], 2 * reach + 1, 1, reach)[:, 0] > 0


@pytest.mark.parametrize("talk", list(Talk))
@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_every_mouth_is_open_where_its_own_voice_sounds(talk: Talk, seed: int) -> None:
    clip = make_group(seed, [vowel(0.4), vowel(0.5)], talk=talk, frames=FRAMES, size=SIZE)
    sound, mouth = heard(clip), opened(clip)
    assert clip.frames.shape == (FRAMES, 3, *SIZE)
    assert clip.voices.shape == (2, FRAMES * RATE // FPS)
    assert not (mouth & ~near(sound, 3)).any()
    inside = ~near(~sound, 2)
    assert mouth[inside].all()
    assert sound.any(1).sum() == (1 if talk is Talk.ONE else 2)
    together = sound.all(0).sum()
    assert (together > 4) == (talk is Talk.ALL)


def test_whoever_speaks_is_left_to_chance() -> None:
    clips = [make_group(seed, [vowel(0.4), vowel(0.4)], frames=FRAMES, size=(16, 40)) for seed in range(8)]
    speakers = {int(heard(clip).any(1).nonzero()[0, 0]) for clip in clips}
    assert speakers == {0, 1}


def test_in_turns_long_words_are_cut_to_let_everybody_speak() -> None:
    clip = make_group(5, [vowel(0.3), vowel(0.3), vowel(0.3)], talk=Talk.TURNS, frames=FRAMES, size=(32, 80))
    sound = heard(clip)
    assert sound.any(1).all()
    assert sound.sum(0).max() == 1
    many = Speech(torch.full((3 * RATE,), 0.5), tuple(Phone("æ", k / 2, (k + 1) / 2) for k in range(6)), "", "")
    assert heard(make_group(5, [many, many], talk=Talk.TURNS, frames=FRAMES, size=(16, 40))).sum(0).max() == 1


def test_only_the_box_of_the_speaker_changes_with_the_mouth() -> None:
    silent = Speech(torch.zeros(0), (), "", "")
    talking = make_group(7, [vowel(1.0), silent], talk=Talk.ALL, frames=FRAMES, size=(64, 128))
    quiet = make_group(7, [silent, silent], talk=Talk.ALL, frames=FRAMES, size=(64, 128))
    changed = (talking.frames.float() - quiet.frames.float()).abs().amax((0, 1)) > 25
    top, left, bottom, right = talking.heads[0].tolist()
    assert changed[top : bottom + 4, left:right].any()
    changed[top : bottom + 4, left:right] = False
    assert not changed.any()


def test_every_one_of_a_group_is_another_and_the_scene_is_told_once() -> None:
    clip = make_group(11, [vowel(0.4), vowel(0.2), vowel(0.3)], talk=Talk.ALL, frames=6, size=SIZE)
    assert len(set(clip.characters)) == 3
    assert clip.caption.count("A cartoon") == 3
    assert clip.caption.count("in front of") == 1


def test_a_number_is_a_group_and_everybody_needs_words(tmp_path: Path) -> None:
    speech = [tmp_path / f"{name}.flac" for name in "ab"]
    for path in speech:
        write_speech(vowel(0.3), path)
    one, again, other = (any_group(seed, speech, frames=2) for seed in (4, 4, 5))
    assert torch.equal(one.frames, again.frames)
    assert torch.equal(one.voices, again.voices)
    assert one.characters != other.characters
    with pytest.raises(RequestError, match="2 recordings for 3 people"):
        any_group(4, speech, people=3, frames=2)
