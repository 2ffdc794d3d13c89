"""Tests of the part on scenes: by hand, with the truth, and with people who do not do as asked."""

from dataclasses import replace

import pytest
import torch

from bench_cases import case
from enliven.bench.cases import SEEN, Case, MovedCase, eight_bit
from enliven.bench.scenes import beside, chest, levels_apart, moved_cases, scene_changes, share_of_way
from enliven.bench.talkers import Drawn, Talker
from enliven.toonworld.scene import paint_scene

EVERYWHERE = torch.ones(2, 4, dtype=torch.bool)


class Disobedient:
    """Draws the truth, or does not do as asked in a way."""

    name = "disobedient"

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def __call__(self, asked: Case) -> torch.Tensor:
        assert isinstance(asked, MovedCase)
        frames, stays = asked.drawn(), asked.drawn_as(asked.character)
        match self.fault:
            case "stays":
                return stays
            case "keeps sweater":
                return asked.drawn_as(replace(asked.there, cloth=asked.character.cloth, shirt=asked.character.shirt))
            case "stripes":
                return striped(frames, stays)
            case "stripes at first":
                half = asked.half
                return torch.cat([frames[:half], striped(frames, stays)[half : half + 25], frames[half + 25 :]])
            case _:
                stranger = replace(asked, seed=asked.seed + 77)
                return torch.cat([frames[: asked.half], stranger.drawn()[asked.half :]])


def striped(frames: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    mixed = frames.clone()
    mixed[..., ::16, :] = others[..., ::16, :]
    mixed[..., 1::2, :] = others[..., 1::2, :]
    return mixed


def found(talker: Talker) -> dict[str, float]:
    section = scene_changes(talker, moved_cases([case(2.0, 9_000_002)], 1, 4.0))
    assert all(check.target == "" for check in section.checks)
    return {check.name: check.value for check in section.checks}


def flat(*levels: int) -> torch.Tensor:
    return torch.stack([torch.full((3, 2, 4), level, dtype=torch.uint8) for level in levels])


def test_the_way_is_that_worked_out_by_hand() -> None:
    old, new = flat(20, 20, 20, 20, 20), flat(120, 120, 120, 120, 120)
    seen = flat(20, 45, 120, 150, 20)
    seen[4, ..., 1:] = 120  # three columns of four
    assert share_of_way(seen, old, new, EVERYWHERE).tolist() == pytest.approx([0, 0.25, 1, 130 / 160, 0.75])
    assert levels_apart(seen, new, EVERYWHERE).tolist() == [100, 75, 0, 30, 25]


def test_only_the_region_counts() -> None:
    seen, region = flat(20), EVERYWHERE.clone()
    seen[0, :, 1, 3], region[1, 3] = 255, False
    assert share_of_way(seen, flat(20), flat(120), region).tolist() == [0]


@pytest.mark.parametrize("seed", [*range(9_000_000, 9_000_004), 9_000_005, 9_000_006])
def test_regions_show_the_place_alone_and_the_sweater_alone(seed: int) -> None:
    one = moved_cases([case(2.0, seed)], 1, 4.0)[0]
    here, there = one.character, one.there
    empty = eight_bit(paint_scene(here, SEEN))
    frames, moved = (one.drawn_as(who)[::10] for who in (here, replace(there, cloth=here.cloth, shirt=here.shirt)))
    assert torch.equal(*(each[..., beside(SEEN)].float() for each in (frames, empty.expand_as(frames))))
    assert torch.equal(*(each[..., chest(SEEN)].float() for each in (frames, moved)))
    assert levels_apart(frames, moved, beside(SEEN)).min() > 10


def test_the_truth_has_changed_wholly_and_is_clean() -> None:
    truth = found(Drawn())
    for seen in ("place", "sweater"):
        assert truth[f"{seen}, share of the way, second before the change"] == 0
        assert truth[f"{seen}, share of the way, last second"] == 1
    assert truth["place, levels from the drawn truth, last second"] == 0
    assert truth["place, levels between the two truths"] > 10
    assert truth["identity, last second, share of true renderings'"] == 1
    for when in ("before the change", "after the change"):
        assert truth[f"{when}: faces judged clean"] > 0.95


def test_who_stays_has_not_changed() -> None:
    numbers = found(Disobedient("stays"))
    assert numbers["place, share of the way, last second"] == 0
    assert numbers["sweater, share of the way, last second"] == 0
    assert numbers["place, levels from the drawn truth, second before the change"] == 0
    between = numbers["place, levels between the two truths"]
    assert numbers["place, levels from the drawn truth, last second"] == pytest.approx(between, rel=1e-3)


def test_place_and_sweater_are_told_apart() -> None:
    numbers = found(Disobedient("keeps sweater"))
    assert numbers["place, share of the way, last second"] == 1
    assert numbers["sweater, share of the way, last second"] == 0


def test_half_a_change_is_half_the_way_and_not_clean() -> None:
    numbers = found(Disobedient("stripes"))
    assert 0.3 < numbers["place, share of the way, last second"] < 0.6
    assert numbers["after the change: faces judged clean"] < numbers["before the change: faces judged clean"]


def test_while_it_changes_nobody_has_to_be_clean() -> None:
    assert found(Disobedient("stripes at first"))["after the change: faces judged clean"] > 0.95


def test_a_stranger_is_not_who_was_there() -> None:
    assert found(Disobedient("stranger"))["identity, last second, share of true renderings'"] < 0.5


def test_everybody_begins_with_their_own_sentence() -> None:
    cases = moved_cases([case(1.0, 9_000_001 + index) for index in range(3)], 2, 4.0)
    assert [each.seed for each in cases] == [9_000_001, 9_000_002]
    assert [each.frames for each in cases] == [100, 100]
    assert not torch.equal(cases[0].speech.samples, cases[1].speech.samples)
