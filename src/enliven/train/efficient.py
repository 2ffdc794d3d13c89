"""A run of training that makes an efficient decoder: from which batches, and how much each loss counts."""

from collections.abc import Iterator

import torch

from enliven.models.vae import ToonAutoencoder
from enliven.train.adversarial import AdversarialObjective, PatchDiscriminator
from enliven.train.evae import EfficientDecoderObjective
from enliven.train.trainer import Batch, Objective, TrainConfig, Trainer
from enliven.types import OnProgress, ignore_progress


def train_efficient(
    config: TrainConfig,
    decoder: EfficientDecoderObjective,
    batches: Iterator[Batch],
    on_progress: OnProgress = ignore_progress,
    *,
    adversarial: float = 0.0,
) -> None:
    """Train the student of ``decoder`` on ``batches`` as it takes them, and leave it with its averaged weights.

    After the teacher's features have faded, its pictures are also to look real, as strongly as ``adversarial`` says.
    Of several processes, all have to ask. Raises as ``Trainer.fit``.
    """
    objective: Objective = decoder
    if adversarial:
        begin = decoder.weights.feature_steps
        objective = AdversarialObjective(decoder, PatchDiscriminator(), strength=adversarial, begin=begin)
    trainer = Trainer(config, objective, batches)
    trainer.fit(on_progress)
    trainer.network["autoencoder"].load_state_dict(trainer.averaged("autoencoder"))


def looks_back(autoencoder: ToonAutoencoder) -> int:
    """How many latent frames before its own a decoder sees: each block looks one further back.

    Where it learns from less, the pictures of a long video become worse, frame by frame, until all of them are seen.
    """
    return sum(autoencoder.params.blocks)


def mixed(often: Iterator[Batch], seldom: Iterator[Batch], share: float) -> Iterator[Batch]:
    """The ``seldom`` ones by chance in a ``share`` of the batches, from 0 to 1."""
    while True:
        yield next(seldom if torch.rand(()) < share else often)


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
