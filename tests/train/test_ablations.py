"""Lessons become weights, once."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from encoded_clips import spoken_clip
from enliven.data.encoded import save_encoded
from enliven.errors import ConfigError, WeightsError
from enliven.models.lora import read_lora
from enliven.models.networks import load_network, save_networks
from enliven.systems import MODELS
from enliven.train import ablations
from enliven.train.ablation_lessons import Lesson
from enliven.train.ablations import LORA, TaughtBatches, Teaching, learnt, read_teaching, require_taught, teach
from enliven.train.backbones import LoraChoice
from enliven.train.cuts import StitchedCuts
from tiny import tiny_networks, tiny_soul, tiny_soul_networks, tiny_spec

FILES = sorted((Path(__file__).parents[2] / "examples" / "ablations").glob("*.toml"))


def test_a_lesson_behind_a_gate_can_be_used_and_its_losses_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "tiny-soul", tiny_soul())
    monkeypatch.setattr(ablations, "LOGGED", 1)
    weights, data = tmp_path / "weights", tmp_path / "data"
    save_networks(tiny_soul_networks(), weights, torch.float32)
    data.mkdir()
    save_encoded(spoken_clip(audio=torch.randn(1, 33, 3, 16)), data / "0.safetensors")
    lessons = (Lesson("closed", gate=0.0), Lesson("open", gate=1.0))
    teaching = Teaching(lessons, "tiny-soul", steps=2, batch=1, clips=1, rate_factors={"audio_gate": 100.0})
    teach(teaching, [data], weights, tmp_path / "taught")
    closed, open_ = (load_network(tmp_path / "taught" / each.name / "backbone") for each in lessons)
    assert closed.blocks[0].audio_gate.abs().item() > 1e-3, "it was quick to open"
    assert open_.blocks[0].audio_gate.item() > 0.5
    assert list(learnt(tmp_path / "taught", "closed")) == [1, 2]
    assert learnt(tmp_path / "taught", "never") == {}


ONE = Teaching((Lesson("usual"),), "tiny", steps=1, batch=1, clips=1)


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, Path]:
    """Weights of the tiny model, an empty folder for clips, and where lessons will lie."""
    monkeypatch.setitem(MODELS, "tiny", tiny_spec())
    save_networks(tiny_networks(), tmp_path / "weights", torch.float32)
    (tmp_path / "data").mkdir()
    return tmp_path / "weights", tmp_path / "data", tmp_path / "taught"


def test_lessons_begin_alike_and_become_weights(tmp_path: Path, places: tuple[Path, Path, Path]) -> None:
    weights, data, _ = places
    for seed in range(3):
        save_encoded(spoken_clip(seed, silent=True), data / f"{seed}.safetensors")
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


def test_a_lesson_that_is_there_counts_only_where_it_was_made_from_the_same(
    tmp_path: Path, places: tuple[Path, Path, Path]
) -> None:
    (weights, data, taught), teaching = places, ONE
    save_encoded(spoken_clip(), data / "0.safetensors")
    teach(teaching, [data], weights, taught)
    (made,) = (taught / "usual" / "backbone").glob("*.safetensors")
    before = made.stat().st_mtime_ns
    teach(replace(teaching, lessons=(Lesson("usual"), Lesson("zeros", silent="zeros"))), [data], weights, taught)
    assert made.stat().st_mtime_ns == before, "it is done, and the other lesson is another"
    require_taught(teaching, "usual", taught)
    with pytest.raises(ConfigError, match=r"usual was made from other settings$"):
        teach(replace(teaching, steps=2), [data], weights, taught)
    with pytest.raises(ConfigError, match=r"usual was made from other settings$"):
        require_taught(replace(teaching, steps=2), "usual", taught)
    with pytest.raises(ConfigError, match=r"usual was made from other lesson$"):
        teach(replace(teaching, lessons=(Lesson("usual", general=False),)), [data], weights, taught)
    with pytest.raises(WeightsError, match="'zeros' was not taught yet"):
        require_taught(replace(teaching, lessons=(Lesson("zeros"),)), "zeros", tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="nothing teaches 'never'"):
        require_taught(teaching, "never", taught)
    save_encoded(spoken_clip(1), data / "0.safetensors")
    with pytest.raises(ConfigError, match=r"usual was made from other clips$"):
        teach(teaching, [data], weights, taught)


def test_who_removes_a_lesson_has_it_taught_anew(places: tuple[Path, Path, Path]) -> None:
    (weights, data, taught), teaching = places, ONE
    save_encoded(spoken_clip(), data / "0.safetensors")
    teach(teaching, [data], weights, taught)
    before = load_network(taught / "usual" / "backbone").state_dict()
    save_networks(tiny_networks(1), weights, torch.float32)
    with pytest.raises(ConfigError, match=r"usual was made from other weights$"):
        teach(teaching, [data], weights, taught)
    shutil.rmtree(taught / "usual")
    teach(teaching, [data], weights, taught)
    after = load_network(taught / "usual" / "backbone").state_dict()
    assert any((after[name] - before[name]).abs().max() > 0.1 for name in before), "not the old training"


def test_what_cannot_be_taught_leaves_nothing_that_would_be_in_the_way(
    tmp_path: Path, places: tuple[Path, Path, Path]
) -> None:
    (weights, data, taught), teaching = places, ONE
    with pytest.raises(ConfigError, match="no clips for 'usual'"):
        teach(teaching, [data], weights, taught)
    save_encoded(spoken_clip(), data / "0.safetensors")
    teach(teaching, [data], weights, taught)
    again = tmp_path / "again"
    teach(teaching, [data], taught / "usual", again)  # what was taught may be begun from
    teach(teaching, [data], taught / "usual", again)


def test_batches_take_so_many_clips_of_each_folder(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        for seed in range(3):
            save_encoded(spoken_clip(seed), tmp_path / folder / f"{seed}.safetensors")
    embed = tiny_networks().text
    folders = [tmp_path / "one", tmp_path / "other"]
    batches = TaughtBatches(folders, Lesson("x"), 4, embed=embed, cut=StitchedCuts(5, 2))
    assert sorted(Path(name).parent.name for name in batches.clips) == ["one", "one", "other", "other"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_teaching_in_the_examples_can_be_read(path: Path) -> None:
    teaching = read_teaching(path)
    assert (teaching is not None) == ("[teaching]" in path.read_text())
