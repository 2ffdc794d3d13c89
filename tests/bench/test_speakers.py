"""The part on several speakers passes the truth, and fails whoever moves the wrong mouth."""

from dataclasses import replace

import pytest
import torch

from bench_cases import case
from enliven.bench.cases import eight_bit
from enliven.bench.groups import GroupCase, exchanged
from enliven.bench.report import Check
from enliven.bench.speakers import several_speakers
from enliven.bench.talkers import Talker
from enliven.toonworld.character import sample_character
from enliven.toonworld.draw import draw_group


class Spoilt:
    """Draws the truth, or one that is wrong in a way."""

    name = "spoilt"

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def __call__(self, asked: GroupCase) -> torch.Tensor:
        match self.fault:
            case "swapped":
                return exchanged(asked.clip).frames
            case "chorus":
                return chorus(asked)
            case "mute":
                return asked.clip.frames[:1].expand_as(asked.clip.frames)
            case _:
                return asked.clip.frames


def chorus(asked: GroupCase) -> torch.Tensor:
    """Everybody's mouth does what any mouth does."""
    widest = torch.stack([state.mouth_open for state in asked.clip.states]).amax(0)
    people = [
        (sample_character(each), replace(state, mouth_open=widest))
        for each, state in zip(asked.clip.characters, asked.clip.states, strict=True)
    ]
    height, width = asked.clip.frames.shape[2:]
    return eight_bit(draw_group(people, (height, width)))


def checks(talker: Talker, monkeypatch: pytest.MonkeyPatch) -> dict[str, Check]:
    monkeypatch.setattr("enliven.bench.groups.SECONDS", 2.0)
    speech = [case(1.8, seed).speech for seed in (1, 2)]
    return {check.name.removeprefix("pairs"): check for check in several_speakers(talker, speech, {2: 1}).checks}


def test_the_judge_reads_the_right_mouth_of_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    found = checks(Spoilt("nothing"), monkeypatch)
    assert [name for name, check in found.items() if not check.passed] == []
    assert found[": worst speaking mouth"].value > 0.9


@pytest.mark.parametrize(
    ("fault", "failing"),
    [
        ("swapped", {": speaking mouth, correlation with truth", ": silent mouth, mean opening while another speaks"}),
        ("chorus", {": silent mouth, correlation with another's voice", ", in turns: correlation with truth"}),
        ("mute", {": speaking mouth, correlation with truth", ", in turns: correlation with truth"}),
    ],
)
def test_a_wrong_mouth_fails(fault: str, failing: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = checks(Spoilt(fault), monkeypatch)
    assert failing <= {name for name, check in found.items() if not check.passed}
