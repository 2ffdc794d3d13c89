"""Lessons that differ in one thing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from enliven.data.encoded import EncodedClip, save_encoded
from enliven.errors import ConfigError
from enliven.models.lora import read_lora
from enliven.models.networks import load_network, save_networks
from enliven.systems import MODELS
from enliven.systems.longcat import LONGCAT_TOON
from enliven.systems.soul import SOUL_TOON
from enliven.toonworld.failures import NEGATIVE_PROMPT
from enliven.train import ablations
from enliven.train.ablation_lessons import Lesson, OwnChunks
from enliven.train.ablations import LORA, TaughtBatches, Teaching, learnt, read_teaching, teach
from enliven.train.backbones import LoraChoice, cuts
from enliven.train.cuts import StitchedCuts
from tiny import tiny_networks, tiny_soul, tiny_soul_networks, tiny_spec

FILES = sorted((Path(__file__).parents[2] / "examples" / "ablations").glob("*.toml"))


def clip(seed: int = 0, **changes: object) -> EncodedClip:
    """Nine latent frames of 33 video frames."""
    generator = torch.Generator().manual_seed(seed)
    made = EncodedClip(
        torch.randn(4, 9, 4, 4, generator=generator),
        torch.randn(9, 4, 4, 4, generator=generator),
        torch.arange(0, 33, 4),
        torch.randn(1, 33, 2, 16, generator=generator),
        torch.zeros(1, 33, 5),
        "a man with a hat",
        False,
    )
    return replace(made, **changes)


def test_zeros_are_told_to_who_is_silent_and_nobody_else() -> None:
    lesson, speaks, silent = Lesson("zeros", silent="zeros"), clip(), clip(silent=True)
    told = lesson.told(silent)
    assert told is not None
    assert not told.audio.any()
    assert lesson.told(speaks) is speaks
    assert Lesson("usual").told(silent) is silent


def test_general_video_and_failures_are_left_out_when_asked() -> None:
    nobody, failure = clip(audio=torch.zeros(1, 33, 2, 16)), clip(caption=NEGATIVE_PROMPT)
    assert Lesson("x", general=False).told(nobody) is None
    assert Lesson("x", general=False).told(failure) is failure
    assert Lesson("x", failures=False).told(failure) is None
    assert Lesson("x", failures=False).told(nobody) is nobody


def test_a_chunk_of_its_own_begins_with_a_single_frame() -> None:
    clips = [clip(0), clip(1)]
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
    usual, clips = StitchedCuts(5, 2, text=0.0, image=1.0), [clip()]
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


def test_a_lesson_behind_a_gate_can_be_used_and_its_losses_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "tiny-soul", tiny_soul())
    monkeypatch.setattr(ablations, "LOGGED", 1)
    weights, data = tmp_path / "weights", tmp_path / "data"
    save_networks(tiny_soul_networks(), weights, torch.float32)
    data.mkdir()
    save_encoded(clip(audio=torch.randn(1, 33, 3, 16)), data / "0.safetensors")
    lessons = (Lesson("closed", gate=0.0), Lesson("open", gate=1.0))
    teaching = Teaching(lessons, "tiny-soul", steps=2, batch=1, clips=1, rate_factors={"audio_gate": 100.0})
    teach(teaching, [data], weights, tmp_path / "taught")
    closed, open_ = (load_network(tmp_path / "taught" / each.name / "backbone") for each in lessons)
    assert closed.blocks[0].audio_gate.abs().item() > 1e-3, "it was quick to open"
    assert open_.blocks[0].audio_gate.item() > 0.5
    assert list(learnt(tmp_path / "taught", "closed")) == [1, 2]
    assert learnt(tmp_path / "taught", "never") == {}


def test_lessons_begin_alike_and_become_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tiny", tiny_spec())
    weights, data = tmp_path / "weights", tmp_path / "data"
    save_networks(tiny_networks(), weights, torch.float32)
    data.mkdir()
    for seed in range(3):
        save_encoded(clip(seed, silent=True), data / f"{seed}.safetensors")
    lora = Lesson("beside", lora=LoraChoice(2, targets=r"\.attn\."))
    lessons = (Lesson("usual"), Lesson("zeros", silent="zeros"), lora)
    teaching = Teaching(lessons, "tiny", steps=1, batch=2, clips=3)
    teach(teaching, [data], weights, tmp_path / "taught")
    first = load_network(weights / "backbone").state_dict()
    usual, zeros, beside = (load_network(tmp_path / "taught" / each.name / "backbone").state_dict() for each in lessons)
    assert any(not torch.equal(usual[name], first[name]) for name in first)
    assert any(not torch.equal(usual[name], zeros[name]) for name in first)
    assert all(torch.equal(beside[name], first[name]) for name in first)
    assert read_lora(tmp_path / "taught" / "beside" / LORA)
    assert (tmp_path / "taught" / "zeros" / "audio").is_dir()


def test_a_lesson_that_is_there_counts_only_where_it_was_made_of_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "tiny", tiny_spec())
    weights, data, taught = tmp_path / "weights", tmp_path / "data", tmp_path / "taught"
    save_networks(tiny_networks(), weights, torch.float32)
    data.mkdir()
    save_encoded(clip(), data / "0.safetensors")
    teaching = Teaching((Lesson("usual"),), "tiny", steps=1, batch=1, clips=1)
    teach(teaching, [data], weights, taught)
    (made,) = (taught / "usual" / "backbone").glob("*.safetensors")
    before = made.stat().st_mtime_ns
    teach(replace(teaching, lessons=(Lesson("usual"), Lesson("zeros", silent="zeros"))), [data], weights, taught)
    assert made.stat().st_mtime_ns == before, "it is done, and the other lesson is another"
    with pytest.raises(ConfigError, match=r"usual was made of other settings$"):
        teach(replace(teaching, steps=2), [data], weights, taught)
    with pytest.raises(ConfigError, match=r"usual was made of other lesson$"):
        teach(replace(teaching, lessons=(Lesson("usual", general=False),)), [data], weights, taught)
    save_networks(tiny_networks(1), weights, torch.float32)
    with pytest.raises(ConfigError, match=r"usual was made of other weights$"):
        teach(teaching, [data], weights, taught)
    (taught / "usual" / "made_from.json").unlink()
    with pytest.raises(ConfigError, match="usual does not tell what it was made of"):
        teach(teaching, [data], weights, taught)


def test_batches_take_so_many_clips_of_each_folder(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        for seed in range(3):
            save_encoded(clip(seed), tmp_path / folder / f"{seed}.safetensors")
    embed = tiny_networks().text
    folders = [tmp_path / "one", tmp_path / "other"]
    batches = TaughtBatches(folders, Lesson("x"), 4, embed=embed, cut=StitchedCuts(5, 2))
    assert sorted(Path(name).parent.name for name in batches.clips) == ["one", "one", "other", "other"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_teaching_in_the_examples_can_be_read(path: Path) -> None:
    teaching = read_teaching(path)
    assert (teaching is not None) == ("[teaching]" in path.read_text())
