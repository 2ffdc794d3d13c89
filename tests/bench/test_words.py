"""Tests of the part on words alone: with the truth, and with who does not look as described."""

from dataclasses import replace

import pytest
import torch

from bench_cases import case
from enliven.bench.cases import SEEN, UNTOLD, Case, WordsCase, eight_bit
from enliven.bench.talkers import Drawn, Talker, request_for
from enliven.bench.words import described_cases, levels_from, things, words_alone
from enliven.toonworld import draw
from enliven.toonworld.character import Character, Scene, Shirt
from enliven.toonworld.palette import CLOTHS, WALLS

CASES = [case(2.0), case(3.0, 9_000_002)]


class Drawing:
    """Draws who is described, or somebody who is not quite."""

    name = "drawing"

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def __call__(self, asked: Case) -> torch.Tensor:
        match self.fault:
            case "sweater":
                return drawn_as(asked, replace(asked.character, cloth=other(CLOTHS, asked.character.cloth.name)))
            case "wall":
                return drawn_as(asked, replace(asked.character, wall=other(WALLS, asked.character.wall.name)))
            case "patchy":
                bright = torch.arange(128) // 16 % 2 * 6
                return (asked.drawn().float() + bright + bright[:, None]).clamp(0, 255).to(torch.uint8)
            case _:
                return asked.drawn().flip(0)


def drawn_as(asked: Case, who: Character) -> torch.Tensor:
    return eight_bit(draw.draw(who, asked.state, SEEN))


def other(colours, name):
    """The colour of the list that is not that of the name, and the first one after it."""
    names = [each.name for each in colours]
    return colours[(names.index(name) + 1) % len(colours)]


def found(talker: Talker) -> dict[str, float]:
    section = words_alone(talker, described_cases(CASES, 3, 1.6), patch=16)
    assert all(check.target == "" for check in section.checks)
    return {check.name: check.value for check in section.checks}


def test_the_truth_looks_as_described() -> None:
    true = found(Drawn())
    for thing in ("sweater", "wall"):
        assert true[f"{thing}: people with the colour asked for"] == 1
        assert true[f"{thing}: levels from the colour asked for"] < 3
    assert true["faces judged clean"] > 0.95
    assert true["mouth opening, correlation with truth"] > 0.95


@pytest.mark.parametrize(("fault", "spared"), [("sweater", "wall"), ("wall", "sweater")])
def test_a_thing_of_another_colour_is_found(fault: str, spared: str) -> None:
    wrong = found(Drawing(fault))
    assert wrong[f"{fault}: people with the colour asked for"] == 0
    assert wrong[f"{fault}: levels from the colour asked for"] > 5
    assert wrong[f"{spared}: people with the colour asked for"] == 1


def test_seams_of_patches_are_found() -> None:
    assert found(Drawn())["seams of patches, times those of the drawn truth"] == 1
    assert found(Drawing("patchy"))["seams of patches, times those of the drawn truth"] > 1.5


def test_who_does_not_say_it_is_found() -> None:
    assert found(Drawing("deaf"))["mouth opening, correlation with truth"] < 0.5


@pytest.mark.parametrize("seed", [9_001_002, 9_001_014, 9_001_016])
def test_prints_and_furniture_count_for_nothing(seed: int) -> None:
    """One of them has a stripe, the others stand before a window and a plant."""
    asked = WordsCase("plain", seed, CASES[0].speech, CASES[0].frames)
    bare = replace(asked.character, shirt=Shirt.PLAIN, scene=Scene.PLAIN)
    frames = drawn_as(asked, bare)
    for others, region in things(asked.character).values():
        own, *apart = (levels_from(frames, one, region) for one in (asked.character, *others))
        assert own < 0.6 * min(apart)


def test_levels_are_those_worked_out_by_hand() -> None:
    """Too bright and too dark do not make up for each other; what lies elsewhere counts for nothing."""
    who = described_cases(CASES, 1, 1.6)[0].character
    _, region = things(who)["wall"]
    frames = eight_bit(draw.portrait(who, SEEN)[None]).clamp(20, 235).repeat(2, 1, 1, 1)
    true = levels_from(frames, who, region)
    frames[0] += 20
    frames[1] -= 20
    frames[..., ~region] = 0
    assert levels_from(frames, who, region) - true == pytest.approx(20, abs=2 * true)


def test_captions_name_the_wall_and_everybody_is_another() -> None:
    described = described_cases(CASES, 8, 1.6)
    assert len({each.seed for each in described}) == 8
    assert {each.frames for each in described} == {40}
    for each in described:
        assert each.character.scene not in UNTOLD
        assert each.character.wall.name in each.prompt
        assert each.character.cloth.name in each.prompt


def test_no_portrait_is_asked_with(tmp_path) -> None:
    asked = request_for(described_cases(CASES, 1, 1.6)[0], tmp_path, (96, 64))
    assert isinstance(described_cases(CASES, 1, 1.6)[0], WordsCase)
    assert (asked.portrait, asked.height, asked.width) == (None, 96, 64)
    assert not list(tmp_path.glob("*.png"))
    assert asked.prompt.startswith("A cartoon ")
