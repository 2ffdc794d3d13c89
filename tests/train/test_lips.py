"""Tests of the reader of lips: it learns to read, and tells the backbone of mouths that are wrong."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from enliven.data.encoded import EncodedClip, save_encoded
from enliven.data.failures import NEGATIVE_PROMPT
from enliven.errors import ConfigError
from enliven.systems.longcat import ReferenceSkip
from enliven.train.flow import FlowObjective
from enliven.train.lips import LipFlow, LipReader, ReadingLips, lip_batches
from enliven.types import Conditioning, LatentClip, LatentLayout, Text

LAYOUT = ReferenceSkip(2, 1)(frames=5, context=2, reference=True)
CLEAN = 3


class Wrong(nn.Module):
    """Knows the truth, and is wrong by ``error``."""

    def __init__(self, truth: Tensor) -> None:
        super().__init__()
        self.truth = truth
        self.error = nn.Parameter(torch.zeros(truth.shape))

    def forward(self, latents: Tensor, sigma: Tensor, cond: Conditioning, layout: LatentLayout) -> Tensor:
        assert layout is LAYOUT
        return (latents - self.truth) / sigma[:, None, :, None, None].clamp(min=1e-3) + self.error


def told(truth: Tensor, audio: Tensor) -> dict[str, object]:
    text = Text(torch.zeros(len(truth), 1, 2))
    return {
        "clip": LatentClip(truth, LAYOUT),
        "given": truth[:, :, :CLEAN],
        "cond": Conditioning(text, text, audio),
    }


@pytest.fixture
def truth() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 3, len(LAYOUT), 4, 4)


def test_the_reader_finds_a_mouth_anywhere_and_reads_its_four_frames() -> None:
    torch.manual_seed(0)
    reader = LipReader(6, width=16)
    objective = ReadingLips(reader)
    optimizer = torch.optim.Adam(reader.parameters(), lr=1e-2)
    for step in range(300):
        loss = objective.losses(spoken(16), step)["mouth"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    told = spoken(64)
    read = reader(told["latents"])
    assert (read[..., 0] - told["mouth"][..., 0]).abs().mean() < 0.08, "a quarter where nothing is read"


def spoken(count: int) -> dict[str, Tensor]:
    """A cell somewhere that is marked as the mouth and says how far it opens in four frames."""
    opening = torch.rand(count, 2, 4)
    latents = torch.zeros(count, 6, 2, 5, 5)
    for clip in range(count):
        row, column = torch.randint(5, (2,)).tolist()
        latents[clip, 0, :, row, column] = 3
        latents[clip, 1:5, :, row, column] = 2 * opening[clip].T
    return {"latents": latents, "mouth": torch.stack([opening, *[torch.full_like(opening, 0.5)] * 4], dim=-1)}


def test_the_truth_costs_nothing_and_another_mouth_does(truth: Tensor) -> None:
    backbone, audio = Wrong(truth), torch.ones(2, 1, 5, 1, 1, 2)
    objective = LipFlow(backbone, LipReader(3, width=8), lip_weight=2.0)
    assert objective.losses(told(truth, audio), 0)["lips"].item() == pytest.approx(0, abs=1e-9)
    with torch.no_grad():
        backbone.error += torch.randn_like(truth)
    torch.manual_seed(1)
    twice = objective.losses(told(truth, audio), 0)
    objective.lip_weight = 1.0
    torch.manual_seed(1)
    once = objective.losses(told(truth, audio), 0)
    assert twice["lips"].item() == pytest.approx(2 * once["lips"].item())
    assert once["lips"].item() > 0
    torch.manual_seed(1)
    plain = FlowObjective(backbone).losses(told(truth, audio), 0)
    assert once["flow"].item() == pytest.approx(plain["flow"].item()), "and the flow is learnt as ever"


def test_only_what_is_noise_and_hears_one_voice_is_told(truth: Tensor) -> None:
    backbone, reader = Wrong(truth), LipReader(3, width=8).requires_grad_(requires_grad=False)
    with torch.no_grad():
        backbone.error += torch.randn_like(truth)
    heard = torch.ones(2, 1, 5, 1, 1, 2)
    heard[1] = 0
    objective = LipFlow(backbone, reader)
    objective.losses(told(truth, heard), 0)["lips"].backward()
    assert backbone.error.grad is not None
    reached = backbone.error.grad.abs().amax(dim=(1, 3, 4)) > 0
    assert reached.tolist() == [[False] * CLEAN + [True] * (len(LAYOUT) - CLEAN), [False] * len(LAYOUT)]
    assert objective.losses(told(truth, torch.ones(2, 2, 5, 1, 1, 2)), 0)["lips"] == 0, "whose mouth would it read?"


def test_the_guess_is_where_the_velocity_leads(truth: Tensor) -> None:
    backbone = Wrong(truth)
    with torch.no_grad():
        backbone.error += 0.5
    attempt = FlowObjective(backbone).attempt(told(truth, torch.ones(2, 1, 5, 1, 1, 2)))
    expected = truth[:, :, CLEAN:] - 0.5 * attempt.sigma[:, None, None, None, None]
    torch.testing.assert_close(attempt.guess, expected)


def test_who_is_silent_or_fails_is_not_read(tmp_path: Path) -> None:
    for name, caption, mouth in (("a", "A man.", 0.5), ("b", "A man.", 0.0), ("c", NEGATIVE_PROMPT, 0.5)):
        save_encoded(clip(caption, mouth, float(ord(name))), tmp_path / f"{name}.safetensors")
    batch = next(lip_batches(tmp_path, 8))
    assert batch["latents"].shape == (8, 3, 2, 2, 2)
    assert (batch["latents"] == ord("a")).all()
    assert batch["mouth"].shape == (8, 2, 4, 5)
    assert batch["mouth"][0, 0, :, 0].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=1e-3), "frames 1 to 4"
    (tmp_path / "a.safetensors").unlink()
    with pytest.raises(ConfigError, match="nobody speaks"):
        next(lip_batches(tmp_path, 8))


def clip(caption: str, mouth: float, value: float) -> EncodedClip:
    moves = (0.1 * torch.arange(9)[None, :, None]).expand(1, 9, 5) * (mouth > 0)
    latents = torch.full((3, 3, 2, 2), value)
    return EncodedClip(
        latents, latents.transpose(0, 1), torch.arange(0, 9, 4), torch.ones(1, 9, 1, 2), moves, caption, not mouth
    )


def test_a_reader_is_read_back_frozen(tmp_path: Path) -> None:
    reader = LipReader(3, width=8)
    reader.save(tmp_path / "lips.safetensors")
    again = LipReader.load(tmp_path / "lips.safetensors")
    latents = torch.randn(1, 3, 2, 4, 4)
    assert torch.equal(again(latents), reader(latents))
    assert not any(weight.requires_grad for weight in again.parameters())
    with pytest.raises(ConfigError, match="cannot read"):
        LipReader.load(tmp_path / "none.safetensors")
