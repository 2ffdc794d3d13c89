"""How long a model takes on this machine, tried without its weights: how long a product takes is not in its numbers."""

import time
from functools import partial
from typing import Any

import torch

from enliven.models.backbone import ClipCache
from enliven.runtime.memory import LARGE
from enliven.systems.footprint import example_pass, filled, pass_flops, shapes_of
from enliven.systems.spec import ModelSpec
from enliven.types import Conditioning

MOST_FLOPS = 4e11  # tried at once: some seconds on a slow machine
SMALLEST = 4  # cells along a side


def minute_seconds(spec: ModelSpec, device: str = "cpu") -> float:
    """Seconds that denoising a minute of video would take; decoding and encoding come on top."""
    geometry = spec.geometry
    clips = 60 * geometry.fps / (geometry.frames - geometry.context)
    return clips * spec.steps * passes_each_step(spec) * pass_seconds(spec, device)


def passes_each_step(spec: ModelSpec) -> int:
    """How often guidance asks the backbone."""
    asked = []

    def velocity(cond: Conditioning) -> torch.Tensor:
        asked.append(cond)
        return torch.zeros(1, 1, 1, 1, 1)

    nothing = (spec.geometry.stride * SMALLEST * spec.params.autoencoder.spatial_factor,) * 2
    spec.guidance(velocity, example_pass(spec, nothing).cond)
    return len(asked)


def pass_seconds(spec: ModelSpec, device: str = "cpu", most_flops: float = MOST_FLOPS) -> float:
    """Seconds of one pass of the backbone, once the clean frames of the clip are known.

    Of a large network one block is tried, and on a small picture where that would take long; what is left out is
    added by the number of multiplications.
    """
    backbone = shapes_of(spec.params.backbone)
    depth, large = len(backbone.blocks), sum(each.numel() for each in backbone.parameters()) >= LARGE
    size, scale = spec.size, 1.0
    if large:
        backbone.blocks = backbone.blocks[:1]
    tried = len(backbone.blocks)
    flops = pass_flops(spec)
    if flops * tried / depth > most_flops:
        size = _smaller(spec, (most_flops * depth / tried / flops) ** 0.5)
        scale = flops / pass_flops(spec, size)
    dtype = torch.bfloat16 if large else torch.float32
    filled(backbone, partial(torch.zeros, device=device), dtype)
    return _timed(spec, backbone, size, device, dtype) * scale * depth / tried


def _timed(spec: ModelSpec, backbone: Any, size: tuple[int, int], device: str, dtype: torch.dtype) -> float:
    given = example_pass(spec, size, device, dtype)
    cache = ClipCache() if given.layout.cacheable else None
    laps = []
    with torch.inference_mode():
        for _ in range(3):  # the first fills the cache
            began = time.perf_counter()
            given.run(backbone, cache)
            if device.startswith("cuda"):
                torch.cuda.synchronize(device)
            laps.append(time.perf_counter() - began)
    return min(laps[1:])


def _smaller(spec: ModelSpec, factor: float) -> tuple[int, int]:
    """A size with about so much of each side."""
    step = spec.params.autoencoder.spatial_factor * 2
    height, width = (max(SMALLEST // 2, int(side * factor) // step) * step for side in spec.size)
    return height, width
