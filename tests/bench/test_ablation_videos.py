from pathlib import Path

import numpy as np
import pytest
import torch

from bench_cases import case
from enliven.bench import ablation_videos as module
from enliven.bench.ablation_cases import movers
from enliven.bench.ablation_recipe import Ablation, Variant
from enliven.bench.ablation_videos import LORA, Deaf, Videos, kept
from enliven.bench.talkers import request_for
from enliven.diffusion.solvers import Renoise
from enliven.errors import RequestError
from enliven.media.image import read_portrait
from enliven.models.networks import save_networks
from enliven.systems import MODELS
from enliven.train.lora import WithLora, save_lora
from tiny import tiny_networks, tiny_soul, tiny_soul_networks, tiny_spec

ABLATION = Ablation("t", "p", "c", "drift", (Variant("a"),), model="tiny")


@pytest.fixture
def taught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(MODELS, "tiny", tiny_spec())
    monkeypatch.setenv("ENLIVEN_WEIGHTS", str(tmp_path / "models"))
    save_networks(tiny_networks(0), tmp_path / "models" / "tiny", torch.float32)
    save_networks(tiny_networks(1), tmp_path / "taught" / "lesson", torch.float32)
    return tmp_path / "taught"


def videos(place: Path, **variant: object) -> Videos:
    return Videos(ABLATION, Variant("a", **variant), place.parent / "runs", place)


def test_a_video_is_made_once(taught: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = videos(taught).made(case(1.0))
    monkeypatch.setattr(module, "start", lambda *_, **__: pytest.fail("made again"))
    again = videos(taught).made(case(1.0))
    assert torch.equal(first.frames, again.frames)
    assert first.clips[0] == range(17)
    assert first.clips[-1].stop == 25
    assert first.clipped == again.clipped == (), "there is no codebook"


def test_what_differs_lies_apart(taught: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = [videos(taught), videos(taught, steps=3), videos(taught, taught="lesson"), videos(taught)]
    one, stepped, other, same = (each.folder for each in every)
    assert len({one, stepped, other}) == 3
    assert one == same
    monkeypatch.setitem(MODELS, "tiny", tiny_spec(solver=Renoise()))  # a model may get other strategies
    assert videos(taught).folder != one


def test_a_lora_that_was_taught_is_at_work(taught: Path) -> None:
    before = videos(taught, taught="lesson")
    learnt = WithLora(tiny_networks(1).backbone, 2, r"\.attn\.")
    for adapter in learnt.adapters:
        torch.nn.init.normal_(adapter.up)
    save_lora(learnt, taught / "lesson" / LORA)
    after = videos(taught, taught="lesson")
    assert before.pipeline.choices.loras == ()
    assert after.pipeline.choices.loras == (f"{(taught / 'lesson' / LORA).resolve()}:1",)
    assert before.folder != after.folder


def test_silence_is_heard_and_null_audio_is_zeros(taught: Path, tmp_path: Path) -> None:
    silent, deaf = videos(taught, hears="silence"), videos(taught, hears="nothing")
    assert isinstance(deaf.pipeline, Deaf)
    request = request_for(case(1.0).silent(), tmp_path, (32, 32))
    heard, unheard = (
        each.pipeline.encode(request, each.pipeline.spec).voice.features[0].features[:] for each in (silent, deaf)
    )
    assert heard.any()
    assert not unheard.any()


def test_stress_lies_apart_and_what_a_codebook_clips_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tiny", tiny_soul(name="tiny"))
    monkeypatch.setenv("ENLIVEN_WEIGHTS", str(tmp_path / "models"))
    save_networks(tiny_soul_networks(), tmp_path / "models" / "tiny", torch.float32)
    calm, stressed, watched = (
        videos(tmp_path / "taught", **changes) for changes in ({}, {"stress": 1.5}, {"stress": 1.5, "carry": "watch"})
    )
    assert len({calm.folder, stressed.folder, watched.folder}) == 3
    few, many = (each.made(case(1.0)).clipped for each in (calm, stressed))
    assert len(few) == len(calm.made(case(1.0)).clips) - 1 > 0
    assert sum(many) > sum(few)


def test_a_decoder_that_is_not_there_is_said_before_any_work(taught: Path) -> None:
    with pytest.raises(RequestError, match="no decoder 'efficient'"):
        videos(taught, decoder="efficient")


def test_what_is_kept_is_not_made_again(tmp_path: Path) -> None:
    assert kept(tmp_path / "a.json", lambda: {"a": 1}) == {"a": 1}
    assert kept(tmp_path / "a.json", lambda: {"a": 2}) == {"a": 1}


def test_a_scene_begins_as_asked(taught: Path) -> None:
    """Without an overlap there is a cut where the scene begins, and its portrait lies beside that of the video."""
    (moved,) = movers(1, 2.0)
    overlap, cut, portrait = (videos(taught, begins=begins).made(moved) for begins in ("overlap", "cut", "portrait"))
    assert 25 not in {clip.start for clip in overlap.clips}
    for made in (cut, portrait):
        assert 25 in {clip.start for clip in made.clips}
    assert not torch.equal(cut.frames[25], portrait.frames[25])
    picture = read_portrait(portrait.folder / "inputs" / "there.png")
    assert np.array_equal(np.array(picture), moved.picture_there((32, 32)).permute(1, 2, 0).numpy())
