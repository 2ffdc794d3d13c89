"""Several voices on one time line."""

import pytest
import torch

from enliven.errors import RequestError
from enliven.media.voices import Turns, arrange_voices

LONG, SHORT = torch.tensor([0.5, -0.5, 0.25]), torch.tensor([0.25, 0.75])


def test_together_all_begin_at_once_and_the_shorter_one_falls_silent() -> None:
    voices = arrange_voices([LONG, SHORT], Turns.TOGETHER)
    assert voices.tracks.tolist() == [[0.5, -0.5, 0.25], [0.25, 0.75, 0]]
    assert voices.mixed.tolist() == [0.75, 0.25, 0.25]


def test_in_turn_each_is_silent_while_the_other_speaks() -> None:
    voices = arrange_voices([LONG, SHORT, LONG[:1]], Turns.IN_TURN)
    assert voices.tracks.tolist() == [
        [0.5, -0.5, 0.25, 0, 0, 0],
        [0, 0, 0, 0.25, 0.75, 0],
        [0, 0, 0, 0, 0, 0.5],
    ]
    assert voices.mixed.tolist() == [0.5, -0.5, 0.25, 0.25, 0.75, 0.5]


@pytest.mark.parametrize("turns", list(Turns))
def test_who_has_no_voice_is_silent(turns: Turns) -> None:
    voices = arrange_voices([torch.zeros(0), LONG], turns)
    assert voices.tracks.tolist() == [[0, 0, 0], LONG.tolist()]
    assert torch.equal(voices.mixed, LONG)


def test_a_mix_that_would_be_too_loud_is_made_quieter_as_a_whole() -> None:
    voices = arrange_voices([torch.tensor([1.0, 0.5]), torch.tensor([1.0, 0.25])], Turns.TOGETHER)
    assert voices.mixed.tolist() == [1.0, 0.375]
    assert voices.tracks[0].tolist() == [1.0, 0.5]


def test_stereo_is_arranged_as_mono_is() -> None:
    stereo = torch.stack([LONG, -LONG])
    voices = arrange_voices([stereo, stereo[:, :2]], Turns.IN_TURN)
    assert voices.tracks.shape == (2, 2, 5)
    assert torch.equal(voices.mixed[0], -voices.mixed[1])


def test_the_names_are_those_of_the_published_files() -> None:
    assert Turns("para") is Turns.TOGETHER
    assert Turns("add") is Turns.IN_TURN


def test_voices_that_cannot_be_arranged_are_refused() -> None:
    with pytest.raises(RequestError, match="2 voices, and none of them sounds"):
        arrange_voices([torch.zeros(0), torch.zeros(0)], Turns.TOGETHER)
    with pytest.raises(RequestError, match="different channels"):
        arrange_voices([LONG, LONG[None]], Turns.TOGETHER)
