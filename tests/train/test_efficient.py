"""Tests of a run that makes an efficient decoder: what it learns from, and what it leaves."""

from itertools import islice, repeat
from pathlib import Path

import pytest
import torch

from enliven.models.vae import ToonAutoencoder, ToonAutoencoderParams
from enliven.train.efficient import drawn_or_guessed, looks_back, mixed, train_efficient
from enliven.train.evae import EfficientDecoderObjective, EfficientWeights
from enliven.train.trainer import TrainConfig

WIDE = ToonAutoencoderParams(4, 16, 8, blocks=(1, 1), spatial_factor=8)
NARROW = ToonAutoencoderParams(4, 8, 4, blocks=(1, 1), spatial_factor=8)


def drawn() -> dict[str, torch.Tensor]:
    return {"video": torch.randint(0, 256, (1, 3, 5, 32, 32), dtype=torch.uint8)}


def guessed() -> dict[str, torch.Tensor]:
    """Two latent frames and the eight video frames that they stand for."""
    return {"video": torch.randint(0, 256, (1, 3, 8, 32, 32), dtype=torch.uint8), "guessed": torch.randn(1, 4, 2, 4, 4)}


def test_half_of_the_batches_are_guesses_without_the_frames_that_a_first_latent_does_not_paint() -> None:
    torch.manual_seed(0)
    video, guess = drawn(), guessed()
    batches = drawn_or_guessed(repeat(video), repeat(guess))
    made = [next(batches) for _ in range(100)]
    guesses = [batch for batch in made if "latents" in batch]
    assert 35 < len(guesses) < 65
    assert all(torch.equal(batch["video"], guess["video"][:, :, -5:]) for batch in guesses)
    assert all(batch is video for batch in made if "latents" not in batch)


def test_seldom_batches_come_as_often_as_said() -> None:
    torch.manual_seed(0)
    made = list(islice(mixed(repeat({"a": 1}), repeat({"b": 1}), 0.2), 500))
    assert made.count({"b": 1}) / 500 == pytest.approx(0.2, abs=0.05)
    assert list(islice(mixed(iter([]), repeat({"b": 1}), 1.0), 3)) == [{"b": 1}] * 3


@pytest.mark.parametrize("adversarial", [0.0, 0.05])
def test_a_run_leaves_the_averaged_weights_and_the_encoder_as_it_was(tmp_path: Path, adversarial: float) -> None:
    torch.manual_seed(0)
    teacher, student = ToonAutoencoder(WIDE), ToonAutoencoder(NARROW)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    config = TrainConfig(
        tmp_path, steps=3, log_every=1, learning_rate=1e-2, muon="", warmup=1, dtype="float32", ema=0.9
    )
    objective = EfficientDecoderObjective(student, teacher, EfficientWeights(feature_steps=1))
    train_efficient(
        config, objective, drawn_or_guessed(iter(drawn, None), iter(guessed, None)), adversarial=adversarial
    )
    after = student.state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert not {name for name in moved if name.startswith("analysis") or name.startswith("latent")}
    assert {"decoder_out.weight", "synthesis.weight"} < moved
    assert ("discriminator" in (tmp_path / "metrics.jsonl").read_text()) == bool(adversarial)


def test_a_decoder_looks_back_one_latent_frame_for_each_block() -> None:
    torch.manual_seed(0)
    network = ToonAutoencoder(WIDE)
    for value in network.parameters():
        torch.nn.init.normal_(value, std=0.3)
    latents = torch.randn(1, 4, 5, 2, 2)
    other = latents.clone()
    other[:, :, 0] += 1
    with torch.no_grad():
        changed = (network.decode(other) - network.decode(latents)).abs().amax(dim=(0, 1, 3, 4)) > 1e-4
    last = int(changed.nonzero().max())
    assert (last + 3) // 4 == looks_back(network) == 2
