from pathlib import Path

import torch

from bench_cases import case
from enliven.bench.cases import MovedCase
from enliven.bench.groups import Kind, group_cases
from enliven.bench.talkers import Drawn, Generated, Talker, request_for, request_for_group
from enliven.media.audio import read_audio
from enliven.media.image import read_portrait
from enliven.pipeline import AvatarPipeline
from enliven.toonworld.character import caption
from tiny import tiny_networks, tiny_spec


def test_the_drawn_truth_is_the_case_itself() -> None:
    long = case(11.0)
    frames = Drawn()(long)
    assert len(frames) == 275
    assert torch.equal(frames[248:252], long.drawn(slice(248, 252)))


def test_a_request_says_what_the_case_is(tmp_path: Path) -> None:
    request = request_for(case(), tmp_path, (64, 96))
    assert request.portrait is not None
    assert read_portrait(request.portrait).size == (96, 64)
    assert read_audio(request.audio[0]).seconds == 1.0
    assert request.prompt.startswith("A cartoon")
    assert request.seconds == 1.0


def test_who_is_to_be_elsewhere_is_asked_so_from_half_of_the_time_on(tmp_path: Path) -> None:
    still = case(4.0)
    moved = MovedCase(still.name, still.seed, still.speech, still.frames)
    request = request_for(moved, tmp_path, (64, 96))
    (scene,) = request.timeline
    assert scene.start == 2.0
    assert scene.prompt == caption(moved.there)
    assert request.prompt == caption(moved.character)
    assert not request_for(still, tmp_path, (64, 96)).timeline


def test_a_group_is_asked_for_with_a_voice_for_each_and_none_for_listeners(tmp_path: Path) -> None:
    cases = {each.kind: each for each in group_cases(0, [case().speech, case(seed=2).speech])}
    request = request_for_group(cases[Kind.PLACED], tmp_path)
    assert request.portrait is not None
    assert read_portrait(request.portrait).size == (224, 128)
    assert [path is not None for path in request.audio] == cases[Kind.PLACED].speaks
    assert len(request.speakers) == 2
    assert request.seconds == 4.0
    spoken = request_for_group(cases[Kind.TURNS], tmp_path)
    assert not spoken.speakers
    for path, voice in zip(spoken.audio, cases[Kind.TURNS].clip.voices, strict=True):
        assert path is not None
        assert torch.allclose(read_audio(path).samples[0], voice, atol=1e-3)


def test_a_model_makes_as_many_frames_as_the_case_has() -> None:
    talker = Generated(AvatarPipeline(tiny_spec(), tiny_networks()))
    assert isinstance(talker, Talker)
    assert len(talker(case(1.0))) == 25
