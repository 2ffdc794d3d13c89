"""Tests of clips without people."""

import pytest
import torch

from enliven.toonworld.scene import paint_scene
from enliven.toonworld.sights import Kind, draw_sight, sample_sight, sight_caption

SIGHTS = {sight.kind: sight for sight in map(sample_sight, range(40))}


@pytest.mark.parametrize("kind", Kind)
def test_something_moves_before_a_place_that_does_not(kind: Kind) -> None:
    sight = SIGHTS[kind]
    video = draw_sight(sight, 50, 25, (64, 64))
    assert video.shape == (50, 3, 64, 64)
    assert 0 <= video.min() <= video.max() <= 1
    covered = (video - paint_scene(sight.behind, (64, 64))).abs().amax(dim=(0, 1)) > 0.03
    moves = video.std(dim=0).amax(dim=0) > 0.01
    assert 0.02 < covered.float().mean() < 0.6
    assert moves.float().mean() > 0.005
    assert not (moves & ~covered).any()


def test_the_caption_says_what_is_seen() -> None:
    sight = SIGHTS[Kind.FISH]
    said = sight_caption(sight)
    assert f"{sight.colour.name} fish swims in front of" in said
    assert said[0] == "A"
    assert said.endswith(".")


def test_the_same_seed_draws_the_same() -> None:
    first, again = (draw_sight(sample_sight(5), 3, 25, (32, 32)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, draw_sight(sample_sight(6), 3, 25, (32, 32)))


def test_sizes_show_the_same_picture() -> None:
    small = draw_sight(SIGHTS[Kind.CAT], 2, 25, (64, 64))
    large = draw_sight(SIGHTS[Kind.CAT], 2, 25, (128, 128))
    shrunk = torch.nn.functional.avg_pool2d(large, 2)
    assert (shrunk - small).abs().mean() < 0.02
