"""Tests of the adversarial phase: whose turn it is, what each learns, how strongly it counts."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from enliven.models.vae import ToonAutoencoder, ToonAutoencoderParams
from enliven.train.adversarial import AdversarialObjective, PatchDiscriminator, hinge
from enliven.train.evae import EfficientDecoderObjective, EfficientWeights
from enliven.train.trainer import TrainConfig, Trainer

WIDE = ToonAutoencoderParams(4, 16, 8, blocks=(1, 1, 1), spatial_factor=16, middle_widths=(12,))
NARROW = replace(WIDE, inner_width=8, middle_widths=(6,), outer_width=4)


def objective(strength: float = 0.05, begin: int = 0) -> AdversarialObjective:
    torch.manual_seed(0)
    weights = EfficientWeights(noise=0, feature_steps=1)
    decoder = EfficientDecoderObjective(ToonAutoencoder(NARROW), ToonAutoencoder(WIDE), weights)
    return AdversarialObjective(decoder, PatchDiscriminator((8, 16)), strength=strength, begin=begin)


def videos() -> Tensor:
    return (torch.rand(2, 3, 5, 32, 32, generator=torch.Generator().manual_seed(3)) * 255).to(torch.uint8)


def test_what_is_surely_right_costs_nothing() -> None:
    assert hinge(torch.tensor([1.0, 3.0]), torch.tensor([-1.0, -2.0])) == 0
    assert hinge(torch.tensor([0.5, 3.0]), torch.tensor([-1.0, 2.0])).item() == pytest.approx(0.25 + 1.5)


def test_a_patch_is_judged_in_every_frame() -> None:
    judged = PatchDiscriminator()(torch.randn(2, 3, 5, 64, 64))
    assert judged.shape == (2, 1, 5, 8, 8)


def test_turns_begin_when_asked() -> None:
    turns = [objective(begin=3).turn(step) for step in range(7)]
    decoder = ["autoencoder", "heads"]
    assert turns == [decoder, decoder, decoder, ["discriminator"], decoder, ["discriminator"], decoder]
    assert "adversarial" not in objective(begin=3).losses({"video": videos()}, 2)


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_the_discriminator_pulls_as_strongly_as_asked_whatever_its_scale(scale: float) -> None:
    asked = objective(strength=0.05)
    with torch.no_grad():
        asked.discriminator[-1].weight.mul_(scale)
    compared = asked.decoder.compared({"video": videos()}, 1)
    asked.decoder.compared = lambda *_: compared  # type: ignore[method-assign]
    losses, painted = asked.losses({}, 1), compared[1]
    others = torch.stack([loss for name, loss in losses.items() if name not in ("adversarial", "features")]).sum()
    pulls = [
        torch.autograd.grad(loss, painted, retain_graph=True)[0].norm().item()
        for loss in (losses["adversarial"], others)
    ]
    assert pulls[0] / pulls[1] == pytest.approx(0.05, rel=1e-3)


def test_each_learns_in_its_turn(tmp_path: Path) -> None:
    asked = objective()
    rates = {"discriminator": 2e-3}
    config = TrainConfig(tmp_path, 100, learning_rate=1e-4, learning_rates=rates, muon="", warmup=1, dtype="float32")
    trainer = Trainer(config, asked, iter(lambda: {"video": videos()}, None))

    def weights(name: str) -> Tensor:
        return torch.cat([value.detach().flatten().clone() for value in asked.networks[name].parameters()])

    before = {name: weights(name) for name in asked.networks}
    first = trainer.take_step()["discriminator"]
    assert not torch.equal(weights("discriminator"), before["discriminator"])
    assert torch.equal(weights("autoencoder"), before["autoencoder"])
    judging = weights("discriminator")
    assert "adversarial" in trainer.take_step()
    assert torch.equal(weights("discriminator"), judging)
    assert not torch.equal(weights("autoencoder"), before["autoencoder"])
    told = [trainer.take_step() for _ in range(40)]
    assert [step["discriminator"] for step in told if "discriminator" in step][-1] < 0.8 * first
