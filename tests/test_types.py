"""The shared nouns refuse what makes no sense, and derive what can be derived."""

import math

import pytest
import torch

from enliven.types import (
    AttentionRule,
    Audio,
    ClipPlan,
    Conditioning,
    LatentClip,
    LatentLayout,
    Progress,
    Role,
    Text,
    Video,
)

R, C, N = Role.REFERENCE, Role.CONTEXT, Role.NOISE


def layout(roles: tuple[Role, ...], *rules: AttentionRule) -> LatentLayout:
    everything = (AttentionRule(range(len(roles)), (range(len(roles)),)),)
    return LatentLayout(roles, tuple(float(i) for i in range(len(roles))), rules or everything)


def test_clean_frames_are_counted_from_the_front() -> None:
    assert (layout((R, C, C, N, N)).clean, layout((R, C, C, N, N)).references) == (3, 1)
    assert (layout((N, N)).clean, layout((R, C)).clean) == (0, 2)


def test_clean_frames_after_noise_are_refused() -> None:
    with pytest.raises(ValueError, match="before noise"):
        layout((R, N, C))


@pytest.mark.parametrize("queries", [(range(2),), (range(2), range(1, 3)), (range(1, 3), range(1))])
def test_queries_that_do_not_tile_the_frames_are_refused(queries: tuple[range, ...]) -> None:
    with pytest.raises(ValueError, match="tile"):
        layout((R, N, N), *(AttentionRule(each, (range(3),)) for each in queries))


def test_every_frame_needs_a_position_and_every_bias_a_range() -> None:
    with pytest.raises(ValueError, match="positions"):
        LatentLayout((N, N), (0.0,), (AttentionRule(range(2), (range(2),)),))
    with pytest.raises(ValueError, match="biases"):
        AttentionRule(range(1), (range(1), range(1, 2)), (0.0,))


def test_keys_hold_only_while_clean_frames_see_no_noise() -> None:
    apart = (AttentionRule(range(2), (range(2),)), AttentionRule(range(2, 4), (range(4),)))
    assert layout((R, C, N, N), *apart).cacheable
    assert not layout((R, C, N, N)).cacheable
    assert not layout((N, N)).cacheable


def test_a_clip_hands_over_its_end() -> None:
    latents = torch.arange(4.0).view(1, 1, 4, 1, 1)
    assert LatentClip(latents, layout((N,) * 4)).last(2).flatten().tolist() == [2.0, 3.0]


def test_a_clip_listens_to_what_it_repeats_and_to_all_that_it_makes() -> None:
    plan = ClipPlan(1, range(41, 60), 5, 41, layout((N,)))
    assert plan.hears == range(36, 77)


def test_null_audio_is_zeros_and_text_gives_way_to_the_negative_prompt() -> None:
    told, negative = Text(torch.ones(1, 2, 3)), Text(-torch.ones(1, 2, 3))
    cond = Conditioning(told, negative, torch.ones(1, 1, 4, 5, 2, 3))
    assert cond.without(text=True).text is negative
    assert cond.without(audio=True).audio.abs().sum() == 0
    assert cond.without(audio=True).text is told
    assert cond.audio.min() == 1


def test_lengths_are_in_seconds() -> None:
    sound = Audio(torch.zeros(2, 8000), 16_000)
    assert sound.seconds == 0.5
    assert Video(torch.zeros(50, 3, 2, 2, dtype=torch.uint8), 25.0, sound).seconds == 2.0


def test_a_share_of_nothing_is_no_number() -> None:
    assert Progress("sampling", 3, 12).fraction == 0.25
    assert math.isnan(Progress("waiting", 0, 0).fraction)
