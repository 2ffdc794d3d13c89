"""Training the judges of the toon world on drawn frames, whose truth is exact.

    python -m enliven.train.judging runs/judges

draws a gallery of people, half of it seen through the toon autoencoder, trains both judges, writes their weights, and
says how well they judge people they have never seen. It takes about nine minutes of one core; a stopped run goes on.
"""

import argparse
import json
import logging
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from enliven.judges.face import READINGS, SPREAD, FaceJudge, FaceNetwork
from enliven.judges.judge import WEIGHTS, save_network
from enliven.judges.quality import QualityJudge, QualityNetwork, scrambling, worst, worst_face
from enliven.models.networks import load_network
from enliven.systems import find_model
from enliven.train.gallery import Gallery, code_gallery, draw_gallery, gallery_batches
from enliven.train.spoiling import scramble, soften
from enliven.train.trainer import TrainConfig, Trainer

WEIGHT = {"mouth_open": 4.0, "mouth_width": 0.5, "mouth_round": 0.7}
TEMPERATURE = 0.1
SEEN, HELD_OUT = 3_000_000, 9_000_000  # first seeds of the galleries for training and for tests


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
    """Cross entropy in every cell, and of the worst cell of face and frame."""

    def __init__(self, network: QualityNetwork) -> None:
        self.network = network
        self.networks: Mapping[str, nn.Module] = {"judge": network}

    def losses(self, batch: Mapping[str, Any], step: int) -> dict[str, Tensor]:  # noqa: ARG002
        """``batch``: from ``gallery_batches``."""
        shown, target = spoil(batch)
        logits = self.network(to_network(shown))[0].float()
        cells = F.binary_cross_entropy_with_logits(logits, target)
        face = F.binary_cross_entropy_with_logits(worst_face(logits), worst_face(target))
        frame = F.binary_cross_entropy_with_logits(worst(logits), worst(target))
        return {"cells": 2 * cells, "face": 0.3 * face, "frame": 0.2 * frame}


def spoil(batch: Mapping[str, Tensor]) -> tuple[Float[Tensor, "b 3 128 128"], Float[Tensor, "b 16 16"]]:
    """Frames of which many are spoilt, evenly soft, and how scrambled each of their cells is."""
    meant = batch["frames"].flatten(0, 1).float() / 255
    failed = batch["spoilt"].flatten(0, 1).float() / 255
    shown = torch.where(torch.rand(len(meant), 1, 1, 1) < 0.5, failed, meant)
    given = (shown != meant).flatten(1).any(dim=1)
    others = meant.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)
    shown = torch.where(given[:, None, None, None], shown, scramble(meant, others, meant.roll(4, 0)))
    return soften(shown), scrambling(shown, meant)


def to_network(frames: Float[Tensor, "b 3 128 128"]) -> Float[Tensor, "b 3 128 128"]:
    """0..1 to -1..1, channels last."""
    return (2 * frames - 1).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def examine(face: FaceNetwork, quality: QualityNetwork, gallery: Gallery) -> dict[str, float]:
    """How well the networks judge a gallery that they have not seen, softened at random."""
    people = [
        {field.name: getattr(gallery, field.name)[[one, one + 1], :2] for field in fields(Gallery)}
        for one in range(0, len(gallery), 2)
    ]
    batches = [
        {key: torch.cat([one[key] for one in people[i : i + 16]]) for key in people[0]}
        for i in range(0, len(people), 16)
    ]
    readings, identity, logits, targets = [], [], [], []
    for batch in batches:
        read_, embedded = face(to_network(soften(batch["frames"].flatten(0, 1).float() / 255)))
        shown, target = spoil(batch)
        readings.append(read_ * SPREAD)
        identity.append(embedded)
        logits.append(quality(to_network(shown))[0])
        targets.append(target)
    truth = gallery.readings[:, :2].flatten(0, 1)
    found, cells, target = torch.cat(readings), torch.cat(logits), torch.cat(targets)
    report = {f"{name} correlation": correlation(found[:, i], truth[:, i]) for i, name in enumerate(READINGS)}
    alike = torch.cat(identity) @ torch.cat(identity).T
    index = torch.arange(len(alike))
    same, strangers = alike[index, index ^ 1], alike[index[:, None] // 4 != index // 4]
    report["identity area"] = area(same, strangers)
    report["identity area, two traits changed"] = area(same, alike[index, index ^ 2])
    report["same person similarity"] = same.mean().item()
    for name, pick in (("face", worst_face), ("frame", worst)):
        bad, good = pick(cells)[pick(target) == 1], pick(cells)[pick(target) == 0]
        report[f"clean {name} area"] = area(bad, good)
        report[f"clean {name} accuracy"] = ((bad > 0).float().mean() + (good < 0).float().mean()).item() / 2
    return {name: round(value, 4) for name, value in report.items()}


def correlation(one: Float[Tensor, "n"], other: Float[Tensor, "n"]) -> float:
    """Pearson's."""
    return torch.corrcoef(torch.stack([one.float(), other.float()]))[0, 1].item()


def area(higher: Float[Tensor, "n"], lower: Float[Tensor, "m"]) -> float:
    """The area under the ROC curve: how often one of ``higher`` lies above one of ``lower``."""
    return (higher[:, None] > lower.flatten()[None]).float().mean().item()


def train_judge(objective: FaceObjective | QualityObjective, gallery: Gallery, config: TrainConfig) -> None:
    """Train the network of ``objective``, or go on where a stopped run in the same folder was."""
    network = objective.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trainer = Trainer(config, objective, gallery_batches(gallery, seed=config.seed))
    trainer.fit()
    network.load_state_dict(trainer.averaged("judge"))
    network.eval()


def main() -> None:
    """Draw, train, examine; the findings go to standard output as JSON."""
    parser = argparse.ArgumentParser(description="train the judges of the toon world")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=900, help="for each of the two judges")
    parser.add_argument("--pairs", type=int, default=400, help="of people in the gallery")
    parser.add_argument("--output", type=Path, default=WEIGHTS, help="folder of the weights")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    torch.manual_seed(0)
    autoencoder = load_network(find_model("longcat-toon").weights / "autoencoder")
    half = range(SEEN, SEEN + asked.pairs // 2), range(SEEN + asked.pairs // 2, SEEN + asked.pairs)
    gallery = Gallery.join([draw_gallery(half[0]), code_gallery(half[1], autoencoder)])
    face, quality = FaceObjective(FaceNetwork()), QualityObjective(QualityNetwork())
    for name, objective in ((FaceJudge.name, face), (QualityJudge.name, quality)):
        config = TrainConfig(
            asked.folder / name, steps=asked.steps, learning_rate=2e-3, muon="", warmup=30, decay=0.6, ema=0.99
        )
        train_judge(objective, gallery, config)
        save_network(objective.network, asked.output / f"{name}.safetensors")
    tests = {
        "drawn": draw_gallery(range(HELD_OUT, HELD_OUT + 96), poses=2),
        "autoencoder": code_gallery(range(HELD_OUT + 96, HELD_OUT + 192), autoencoder, poses=2),
    }
    found = {name: examine(face.network, quality.network, test) for name, test in tests.items()}
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
