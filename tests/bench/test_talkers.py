from pathlib import Path

import torch

from bench_cases import case
from enliven.bench.talkers import Drawn, Generated, Talker, request_for
from enliven.media.audio import read_audio
from enliven.media.image import read_portrait
from enliven.pipeline import AvatarPipeline
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


def test_a_model_makes_as_many_frames_as_the_case_has() -> None:
    talker = Generated(AvatarPipeline(tiny_spec(), tiny_networks()))
    assert isinstance(talker, Talker)
    assert len(talker(case(1.0))) == 25
