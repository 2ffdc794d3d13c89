"""Lessons that differ in one thing."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from encoded_clips import spoken_clip
from enliven.errors import ConfigError
from enliven.systems.longcat import LONGCAT_TOON
from enliven.systems.soul import SOUL_TOON
from enliven.toonworld.failures import NEGATIVE_PROMPT
from enliven.train.ablation_lessons import Lesson, OwnChunks
from enliven.train.backbones import LoraChoice, cuts
from enliven.train.cuts import StitchedCuts
from tiny import tiny_networks, tiny_soul_networks


def test_zeros_are_told_to_who_is_silent_and_nobody_else() -> None:
    lesson, speaks, silent = Lesson("zeros", silent="zeros"), spoken_clip(), spoken_clip(silent=True)
    told = lesson.told(silent)
    assert told is not None
    assert not told.audio.any()
    assert lesson.told(speaks) is speaks
    assert Lesson("usual").told(silent) is silent


def test_general_video_and_failures_are_left_out_when_asked() -> None:
    nobody, failure = spoken_clip(audio=torch.zeros(1, 33, 2, 16)), spoken_clip(caption=NEGATIVE_PROMPT)
    assert Lesson("x", general=False).told(nobody) is None
    assert Lesson("x", general=False).told(failure) is failure
    assert Lesson("x", failures=False).told(failure) is None
    assert Lesson("x", failures=False).told(nobody) is nobody


def test_a_chunk_of_its_own_begins_with_a_single_frame() -> None:
    clips = [spoken_clip(0), spoken_clip(1)]
    usual = StitchedCuts(5, 2, text=0.0, image=0.0, blur=0.0)
    torch.manual_seed(3)
    stitched = usual(clips)
    torch.manual_seed(3)
    own = OwnChunks(usual)(clips)
    start = stitched.heard.start // 4
    assert start > 0
    single = torch.stack([each.references[start] for each in clips])
    assert torch.equal(own.clip.latents[:, :, 1], single)
    assert torch.equal(own.given[:, :, 1], single)
    others = [0, *range(2, 6)]
    assert torch.equal(own.clip.latents[:, :, others], stitched.clip.latents[:, :, others])


def test_where_nothing_is_continued_chunks_are_the_usual() -> None:
    usual, clips = StitchedCuts(5, 2, text=0.0, image=1.0), [spoken_clip()]
    assert torch.equal(OwnChunks(usual)(clips).clip.latents, usual(clips).clip.latents)


def test_a_model_with_a_pivot_has_no_chunks_of_their_own() -> None:
    with pytest.raises(ConfigError, match="soul-toon has no chunks"):
        Lesson("x", chunks="own").cutting(SOUL_TOON)


def test_a_pivot_opens_as_often_as_a_lesson_says() -> None:
    usual = cuts(SOUL_TOON)
    assert Lesson("x").cutting(SOUL_TOON) == usual
    assert Lesson("x", opening=0.0).cutting(SOUL_TOON) == replace(usual, opening=0.0)
    with pytest.raises(ConfigError, match="longcat-toon has no pivot"):
        Lesson("x", opening=0.3).cutting(LONGCAT_TOON)


def test_what_hears_is_new_behind_a_gate_and_all_else_is_as_it_was() -> None:
    learnt_before = tiny_soul_networks().backbone
    usual = Lesson("x").beginning(learnt_before)
    closed = Lesson("x", gate=0.0).beginning(learnt_before)
    torch.rand(1)  # lessons follow each other, and a training draws
    open_ = Lesson("x", gate=1.0).beginning(learnt_before)
    before, after, other = (network.state_dict() for network in (learnt_before, closed, open_))
    assert usual is learnt_before
    for name, value in after.items():
        if "audio" not in name:
            assert torch.equal(value, before[name]), name
        elif name.endswith("audio_gate"):
            assert (value.item(), other[name].item()) == (0.0, 1.0)
        else:
            assert torch.equal(value, other[name]), name
    copied = after["blocks.1.attn_audio.to_k.weight"]
    assert torch.equal(copied, before["blocks.1.attn2.to_k.weight"])
    assert not torch.equal(after["audio_proj.proj1.weight"], before["audio_proj.proj1.weight"])


def test_the_projector_of_audio_may_be_kept() -> None:
    before = tiny_soul_networks().backbone.state_dict()
    after = Lesson("x", gate=0.0, projector="kept").beginning(tiny_soul_networks().backbone).state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before if name.startswith("audio_proj."))
    assert torch.equal(after["blocks.1.attn_audio.to_k.weight"], before["blocks.1.attn2.to_k.weight"])
    assert after["blocks.1.audio_gate"].item() == 0


def test_only_what_hears_behind_a_gate_begins_anew() -> None:
    with pytest.raises(ConfigError, match="of a Soul model"):
        Lesson("x", gate=0.0).beginning(tiny_networks().backbone)
    with pytest.raises(ConfigError, match="of a Soul model"):
        Lesson("x", gate=0.0, lora=LoraChoice(2)).beginning(tiny_soul_networks().backbone)


@pytest.mark.parametrize(
    "settings", [{"opening": 7.0}, {"opening": -1.0}, {"opening": 0.3, "chunks": "own"}, {"projector": "kept"}]
)
def test_a_lesson_that_would_leave_out_a_setting_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="'odd'"):
        Lesson("odd", **settings)
