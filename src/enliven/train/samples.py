"""Something to look at while a backbone learns: a held-out person says a held-out sentence."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from enliven.media.image import to_image
from enliven.media.mux import write_video
from enliven.models.networks import completed, load_network
from enliven.pipeline import AvatarPipeline
from enliven.request import GenerateRequest
from enliven.systems.spec import ModelSpec
from enliven.toonworld import draw
from enliven.toonworld.character import caption, sample_character
from enliven.toonworld.voice import SHIPPED
from enliven.train.lora import running
from enliven.train.trainer import Sample

PERSON = 9_000_500  # nobody that is drawn for training
SENTENCE = "weather.flac"  # of a voice that no network learns from
BESIDE = ("autoencoder", "audio", "text")


def talking_sample(spec: ModelSpec, weights: Path, seconds: float = 2.0, steps: int = 8) -> Sample:
    """A ``Sample`` for the trainer: ``step-00001000.mp4``, by the networks in ``weights`` and the one that learns.

    Where a LoRA learns, it is at work.
    """

    def sample(networks: Mapping[str, nn.Module], path: Path) -> None:
        beside = {name: load_network(weights / name) for name in BESIDE}
        with running(networks["backbone"]) as runs, tempfile.TemporaryDirectory() as folder:
            place = next(runs.parameters()).device
            for network in beside.values():
                network.to(place)
            parts: dict[str, Any] = {"backbone": runs, **beside}
            pipeline = AvatarPipeline(spec, completed(parts, weights, place))
            video = pipeline.generate(_request(spec, Path(folder) / "portrait.png", seconds, steps))
        write_video(video, path.with_suffix(".mp4"))

    return sample


def _request(spec: ModelSpec, portrait: Path, seconds: float, steps: int) -> GenerateRequest:
    character = sample_character(PERSON)
    picture = (draw.portrait(character, spec.size) * 255).round().clamp(0, 255).to(torch.uint8)
    to_image(picture).save(portrait)
    return GenerateRequest(
        audio=(SHIPPED / SENTENCE,),
        prompt=caption(character),
        portrait=portrait,
        seconds=seconds,
        steps=min(steps, spec.steps),
    )
