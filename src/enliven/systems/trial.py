"""How long a model takes on this machine, tried without its weights: how long a product takes is not in its numbers."""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from enliven.models.backbone import ClipCache
from enliven.models.published import Part
from enliven.runtime.guidance_parallel import rehearse
from enliven.runtime.memory import BACKBONE, LARGE
from enliven.runtime.offload import FiledBlocks
from enliven.systems.execution import Execution
from enliven.systems.footprint import example_pass, filled, pass_flops, shapes_of
from enliven.systems.spec import ModelSpec

MOST_FLOPS = 4e11  # tried at once: some seconds on a slow machine
SMALLEST = 4  # cells along a side


def minute_seconds(spec: ModelSpec, device: str = "cpu") -> float:
    """Seconds that denoising a minute of video would take; decoding and encoding come on top."""
    geometry = spec.geometry
    clips = 60 * geometry.fps / (geometry.frames - geometry.context)
    return clips * passes(spec) * pass_seconds(spec, device)


def clips_seconds(spec: ModelSpec, clips: int, parts: Mapping[str, Part], execution: Execution) -> float:
    """Seconds that denoising some clips would take on a device, with blocks that come and go where they do."""
    computing = pass_seconds(spec, execution.device)
    bringing = block_seconds(parts[BACKBONE], execution) if execution.plan.offload else 0.0
    on_gpu = execution.device != "cpu"  # where the next block comes while one computes
    each = max(computing, bringing) if on_gpu else computing + bringing
    return clips * passes(spec) * each


def block_seconds(backbone: Part, execution: Execution) -> float:
    """Seconds in which all blocks of a network come to the device, by the first of them."""
    store = FiledBlocks.placed(backbone.places())
    began = time.perf_counter()
    waiting = [value.clone() for value in store.waiting(0).values()]
    if execution.device != "cpu":
        waiting = [value.pin_memory() for value in waiting]
        torch.cuda.synchronize(execution.device)
        began = time.perf_counter() if execution.plan.held else began
        _ = [value.to(execution.device) for value in waiting]
        torch.cuda.synchronize(execution.device)
    return (time.perf_counter() - began) * len(store.places)


def passes(spec: ModelSpec) -> int:
    """How often the backbone is asked for a clip that continues another: in each step, as often as guidance does."""
    nothing = (spec.geometry.stride * SMALLEST * spec.params.autoencoder.spatial_factor,) * 2
    steps = len(spec.levels(continuing=True)) - 1
    return steps * len(rehearse(spec.guidance, example_pass(spec, nothing).cond))


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
