"""Training the judges of the toon world on drawn frames, whose truth is exact.

    python -m enliven.train.judging runs/judges

draws a gallery of people, half of it seen through the toon autoencoder, trains both judges and writes their weights.
It takes about forty minutes of one core; a stopped run goes on. How well they judge is for ``enliven.train.examining``.
"""

import argparse
import logging
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from enliven.judges.face import READINGS, SPREAD, FaceJudge, FaceNetwork
from enliven.judges.judge import WEIGHTS, save_network
from enliven.judges.judge import load_network as load_weights
from enliven.judges.quality import UNDECIDED, QualityJudge, QualityNetwork, damage, distance, scrambling, truth
from enliven.models.networks import load_network
from enliven.systems import find_model
from enliven.train.gallery import Gallery, code_gallery, draw_gallery, gallery_batches
from enliven.train.spoiling import scramble, soften
from enliven.train.trainer import TrainConfig, Trainer

WEIGHT = {"mouth_open": 4.0, "mouth_width": 0.5, "mouth_round": 0.7}
TEMPERATURE = 0.1
SEEN, STRANGERS = 3_000_000, 4_000_000  # first seeds: of the people to learn from, and of those to balance with


class FaceObjective:
    """Readings by smooth absolute error; identity by picking a person's other picture out of all others."""

    def __init__(self, network: FaceNetwork) -> None:
        self.network = network
        self.networks: Mapping[str, nn.Module] = {"judge": network}
        self.weights = torch.tensor([WEIGHT.get(name, 1.0) for name in READINGS])

    def losses(self, batch: Mapping[str, Any], step: int) -> dict[str, Tensor]:  # noqa: ARG002
        """``batch``: from ``gallery_batches``."""
        frames = soften(batch["frames"].flatten(0, 1).float() / 255)
        readings, identity = self.network(to_network(frames))
        truth = batch["readings"].flatten(0, 1) / SPREAD
        error = F.smooth_l1_loss(readings.float(), truth, beta=0.3, reduction="none") * self.weights
        alike = identity @ identity.T / TEMPERATURE
        alike = alike.masked_fill(torch.eye(len(alike), dtype=torch.bool), -torch.inf)
        twin = torch.arange(len(alike)) ^ 1
        return {"readings": error.mean(), "identity": 0.2 * F.cross_entropy(alike, twin)}


class QualityObjective:
    """Cross entropy in every cell, and of face and frame where the truth is decided."""

    def __init__(self, network: QualityNetwork) -> None:
        self.network = network
        self.networks: Mapping[str, nn.Module] = {"judge": network}

    def losses(self, batch: Mapping[str, Any], step: int) -> dict[str, Tensor]:  # noqa: ARG002
        """``batch``: from ``gallery_batches``."""
        shown, distances = spoil(batch)
        cells, verdicts = self.network(to_network(shown))
        target = truth(damage(distances))
        decided = (target != UNDECIDED).float()
        wrong = F.binary_cross_entropy_with_logits(verdicts.float(), target, reduction="none") * decided
        return {
            "cells": F.binary_cross_entropy_with_logits(cells.float(), scrambling(distances)),
            "verdicts": wrong.sum() / decided.sum().clamp(min=1),
        }


def spoil(batch: Mapping[str, Tensor]) -> tuple[Float[Tensor, "b 3 128 128"], Float[Tensor, "b 16 16"]]:
    """Frames of which many are spoilt, evenly soft, and how far each of their cells is from what was meant."""
    meant = batch["frames"].flatten(0, 1).float() / 255
    failed = batch["spoilt"].flatten(0, 1).float() / 255
    shown = torch.where(torch.rand(len(meant), 1, 1, 1) < 0.45, failed, meant)
    given = (shown != meant).flatten(1).any(dim=1)
    others = meant.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
    shown = torch.where(given[:, None, None, None], shown, scramble(meant, others, meant.roll(4, 0), share=0.5))
    return soften(shown), distance(shown, meant)


def to_network(frames: Float[Tensor, "b 3 128 128"]) -> Float[Tensor, "b 3 128 128"]:
    """0..1 to -1..1, channels last."""
    return (2 * frames - 1).contiguous(memory_format=torch.channels_last)


def train_judge(objective: FaceObjective | QualityObjective, gallery: Gallery, config: TrainConfig) -> None:
    """Train the network of ``objective``, or go on where a stopped run in the same folder was."""
    network = objective.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trainer = Trainer(config, objective, gallery_batches(gallery, seed=config.seed))
    trainer.fit()
    network.load_state_dict(trainer.averaged("judge"))
    network.eval()


@torch.no_grad()
def balance(network: QualityNetwork, gallery: Gallery, batches: int = 40) -> Float[Tensor, "2"]:
    """Move the bounds of face and frame to where clean and scrambled frames of ``gallery`` are right equally often.

    The people should be strangers to the network. Returns how far the logits were moved.
    """
    torch.manual_seed(0)
    logits, truths = [], []
    for batch in islice(gallery_batches(gallery, seed=1), batches):
        shown, distances = spoil(batch)
        logits.append(network(to_network(shown))[1])
        truths.append(truth(damage(distances)))
    found, known = torch.cat(logits), torch.cat(truths)
    moves = torch.stack([_even(found[:, i], known[:, i]) for i in range(2)])
    for head, move in zip((network.face, network.frame), moves, strict=True):
        assert head.bias is not None
        head.bias.add_(move)
    return moves


def _even(logits: Float[Tensor, "n"], known: Float[Tensor, "n"]) -> Float[Tensor, ""]:
    """What to add so that 0 parts both kinds with equal shares of errors."""
    bounds = logits.sort().values
    missed = (logits[known == 1][None] < bounds[:, None]).float().mean(dim=1)
    blamed = (logits[known == 0][None] >= bounds[:, None]).float().mean(dim=1)
    return -bounds[(missed - blamed).abs().argmin()]


def main() -> None:
    """Draw and train; what was trained before in the same folder is kept."""
    parser = argparse.ArgumentParser(description="train the judges of the toon world")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=20, help="of training for each judge")
    parser.add_argument("--pairs", type=int, default=600, help="of people in the gallery")
    parser.add_argument("--judges", nargs="+", default=list(OBJECTIVES), choices=OBJECTIVES, help="which to train")
    parser.add_argument("--start", type=Path, help="folder of weights to begin with, instead of from chance")
    parser.add_argument("--output", type=Path, default=WEIGHTS, help="folder of the weights")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    torch.manual_seed(0)
    gallery = half_and_half(SEEN, asked.pairs)
    for name in asked.judges:
        objective = OBJECTIVES[name]()
        if asked.start:
            load_weights(objective.network, asked.start / f"{name}.safetensors").requires_grad_(requires_grad=True)
        config = TrainConfig(
            asked.folder / name, minutes=asked.minutes, learning_rate=2e-3, muon="", warmup=30, decay=0.6, ema=0.995
        )
        train_judge(objective, gallery, config)
        if isinstance(objective, QualityObjective):
            balance(objective.network, half_and_half(STRANGERS, 48))
        save_network(objective.network, asked.output / f"{name}.safetensors")


def half_and_half(first: int, pairs: int) -> Gallery:
    """Half of the people drawn, half seen through the shipped toon autoencoder."""
    autoencoder = load_network(find_model("longcat-toon").weights / "autoencoder")
    middle, end = first + pairs // 2, first + pairs
    return Gallery.join([draw_gallery(range(first, middle)), code_gallery(range(middle, end), autoencoder)])


OBJECTIVES: Mapping[str, Callable[[], FaceObjective | QualityObjective]] = {
    FaceJudge.name: lambda: FaceObjective(FaceNetwork()),
    QualityJudge.name: lambda: QualityObjective(QualityNetwork()),
}


if __name__ == "__main__":
    main()
