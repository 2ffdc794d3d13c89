"""Tests of the report on decoders: what is compared with what, and what fails."""

import json
import time
from pathlib import Path

import pytest
import torch

from bench_cases import case
from enliven.bench import decoders as module
from enliven.bench.decoders import decoders_report, decoding_seconds, drawn_part, through
from enliven.errors import RequestError
from enliven.judges.quality import QualityJudge
from enliven.models.vae import ToonAutoencoder, ToonAutoencoderParams
from enliven.pipeline import AvatarPipeline
from tiny import tiny_networks, tiny_soul, tiny_soul_networks, tiny_spec

EYES = QualityJudge().network.trunk
SIZE = (32, 32)


class Exact(ToonAutoencoder):
    """Shows what it is given, but for a constant error."""

    def __init__(self, wrong: float) -> None:
        super().__init__(ToonAutoencoderParams(channels=768, inner_width=4, outer_width=4, blocks=(1, 1)))
        with torch.no_grad():
            for layer in (self.analysis, self.synthesis):
                layer.weight.copy_(torch.eye(768)[..., None, None])
                layer.bias.zero_()
            self.decoder_out.bias.fill_(wrong)


def test_frames_come_back_in_their_order_piece_by_piece() -> None:
    frames = torch.randint(0, 256, (9, 3, 16, 16), dtype=torch.uint8)
    assert torch.equal(through(Exact(0.0), frames), frames)


def test_a_decoder_is_measured_against_the_drawings_and_against_the_full_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRAMES", 9)
    both = {"full": Exact(0.0), "efficient": Exact(2 * 4 / 255)}
    part = drawn_part(both, [case(1.0)], SIZE, EYES)
    found = {check.name: check for check in part.checks}
    assert found["full: SSIM"].value == 1
    assert found["efficient: PSNR"].value == pytest.approx(36.1, abs=0.6)  # where a drawing is white, nothing is lost
    assert found["efficient against full: PSNR"].value == found["efficient: PSNR"].value
    assert not found["decibels lost"].passed
    better = drawn_part({"full": both["efficient"], "efficient": both["full"]}, [case(1.0)], SIZE, EYES)
    assert {check.name: check.passed for check in better.checks}["decibels lost"]


def test_a_decoder_that_waits_is_slower() -> None:
    class Slow(Exact):
        def paint(self, *arguments: object) -> torch.Tensor:
            until = time.process_time() + 0.02
            while time.process_time() < until:
                pass
            return super().paint(*arguments)

    spent = decoding_seconds({"full": Slow(0.0), "efficient": Exact(0.0)}, SIZE, 2)
    assert spent["full"] > 0.02 * 25 / 8
    assert spent["full"] > 2 * spent["efficient"]


def test_the_report_says_all_and_shows_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRAMES", 9)
    pipeline = AvatarPipeline(tiny_soul(), tiny_soul_networks())
    page = decoders_report(pipeline, [case(1.0)], 0.4, tmp_path)
    parts = json.loads(page.with_suffix(".json").read_text())["parts"]
    assert list(parts) == ["Speed", "Held-out drawings", "Generated"]
    assert {path.name.split("decoders-")[1] for path in tmp_path.glob("*.png")} == {"drawn.png", "generated.png"}


def test_a_model_with_one_decoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="has no efficient decoder"):
        decoders_report(AvatarPipeline(tiny_spec(), tiny_networks()), [case(1.0)], 0, tmp_path)
