"""A run of training that makes an efficient decoder: from which batches, and how much each loss counts."""

from collections.abc import Iterator

import torch

from enliven.judges.quality import QualityJudge
from enliven.models.vae import ToonAutoencoder
from enliven.train.adversarial import AdversarialObjective, PatchDiscriminator
from enliven.train.evae import EfficientDecoderObjective, EfficientWeights
from enliven.train.trainer import Batch, Objective, TrainConfig, Trainer
from enliven.types import OnProgress, ignore_progress

# A narrowed student begins beside its teacher, whose features hold it there at first. It may become better: absolute
# errors to teacher and truth together are the same anywhere between the two, so the teacher's pictures are left out.
# The gradient of what is perceived is a hundred times that of the pixels.
TOON = EfficientWeights(teacher=0.0, edges=0.5, perceived=0.03, features=0.3, feature_steps=180)


def train_efficient(
    config: TrainConfig,
    student: ToonAutoencoder,
    teacher: ToonAutoencoder,
    batches: Iterator[Batch],
    on_progress: OnProgress = ignore_progress,
    *,
    adversarial: float = 0.0,
) -> None:
    """Train ``student`` on ``batches`` of video or of a backbone's guesses, and leave it with its averaged weights.

    After the teacher's features have faded, its pictures are also to look real, as strongly as ``adversarial`` says.
    """
    objective: Objective
    objective = decoder = EfficientDecoderObjective(student, teacher, TOON, eyes=QualityJudge().network.trunk)
    if adversarial:
        discriminator = PatchDiscriminator()
        objective = AdversarialObjective(decoder, discriminator, strength=adversarial, begin=TOON.feature_steps)
    trainer = Trainer(config, objective, batches)
    trainer.fit(on_progress)
    student.load_state_dict(trainer.averaged("autoencoder"))


def looks_back(autoencoder: ToonAutoencoder) -> int:
    """How many latent frames before its own a decoder sees: each block looks one further back.

    Where it learns from less, the pictures of a long video become worse, frame by frame, until all of them are seen.
    """
    return sum(autoencoder.params.blocks)


def drawn_or_guessed(drawn: Iterator[Batch], guessed: Iterator[Batch]) -> Iterator[Batch]:
    """One or the other, by chance: video, or a backbone's guesses of video as ``guessed_crops`` gives them.

    A decoder is best at what it has seen, and a backbone never gives what the encoder would.
    """
    while True:
        if torch.rand(()) < 0.5:
            yield next(drawn)
        else:
            batch = next(guessed)  # without a past, the first latent paints its last frame
            yield {"video": batch["video"][:, :, 3:], "latents": batch["guessed"]}
