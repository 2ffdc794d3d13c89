import torch

from enliven.bench.ablation_cases import MOTIFS, dressed_people, movers, sights
from enliven.bench.cases import eight_bit
from enliven.toonworld.draw import portrait


def test_people_wear_something_and_begin_with_different_sentences() -> None:
    cases = dressed_people(3, 2.0)
    assert len({case.seed for case in cases}) == 3
    assert all(case.character.shirt in MOTIFS for case in cases)
    assert all(case.frames == 50 for case in cases)
    assert not torch.equal(cases[0].speech.samples, cases[1].speech.samples)


def test_a_sight_is_silent_and_its_picture_begins_the_true_clip() -> None:
    (case,) = sights(1, 1.0)
    assert not case.speech.samples.any()
    assert torch.equal(case.picture((128, 128)), case.drawn()[0])
    assert case.drawn().shape == (25, 3, 128, 128)
    assert "sweater" not in case.prompt


def test_people_who_move_are_asked_to_in_the_second_half() -> None:
    cases = movers(2, 2.0)
    assert len({case.seed for case in cases}) == 2
    for case in cases:
        assert (case.frames, case.half) == (50, 25)
        assert torch.equal(case.picture_there((128, 128)), eight_bit(portrait(case.there)[None])[0])
        assert not torch.equal(case.picture_there((128, 128)), case.picture((128, 128)))
