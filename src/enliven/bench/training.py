"""What training costs: what the trainer adds on a CPU, and how well full-size blocks use a GPU.

    python -m enliven.bench.training --output benchmarks/speed
    python -m enliven.bench.training --device cuda --blocks 4

On a CPU a whole small backbone learns, and the processor time of a step of the trainer (drawing the batch, forward,
backward, clipping, Muon and AdamW, averages) is compared with that of forward and backward alone. On a GPU some blocks
of a full-size backbone learn from noise in the form of a real clip, with their inner results computed again on the way
back, and the model's own multiplications a second are compared with those of one large product of matrices.
"""

import argparse
import dataclasses
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from enliven.bench.report import Check, Section, write_report
from enliven.models.networks import build_network
from enliven.systems import find_model
from enliven.systems.footprint import Pass, example_pass, filled, shapes_of
from enliven.systems.spec import ModelSpec
from enliven.train.flow import FlowObjective
from enliven.train.sharding import recompute_blocks
from enliven.train.trainer import TrainConfig, Trainer, on_device
from enliven.types import Conditioning, LatentClip, Text

log = logging.getLogger(__name__)

LEAST_SHARE = 70.0  # percent of the throughput of forward and backward alone
CEILING = 8192  # rows and columns of the large product


def clip_batch(given: Pass, count: int) -> dict[str, Any]:
    """A training batch of ``count`` such clips."""

    def many(value: Tensor) -> Tensor:
        return value.expand(count, *value.shape[1:])

    text, clean = given.cond.text, given.layout.clean
    told = Text(many(text.tokens), None if text.mask is None else many(text.mask))
    cond = Conditioning(told, told, many(given.cond.audio))
    latents = torch.randn_like(many(given.latents))
    return {"clip": LatentClip(latents, given.layout), "given": latents[:, :, :clean], "cond": cond}


def overhead(spec: ModelSpec, batch: int, laps: int) -> Section:
    """What the trainer adds to forward and backward on the CPU, in processor time: that is its own."""
    torch.manual_seed(0)
    network, given = build_network(spec.params.backbone), example_pass(spec)

    def batches() -> Iterator[Mapping[str, Any]]:
        while True:
            yield clip_batch(given, batch)

    objective = FlowObjective(network)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(TrainConfig(Path(folder), muon=r"blocks\..*weight"), objective, batches())

        def bare() -> None:
            with torch.autocast("cpu", torch.bfloat16):
                losses = objective.losses(drawn, 0)
            losses["flow"].backward()
            network.zero_grad(set_to_none=True)

        drawn = next(trainer.batches)
        bare_seconds, step_seconds = _alternately(bare, trainer.take_step, laps)
    tokens = _tokens(spec, given) * batch
    checks = [
        Check("forward and backward alone", bare_seconds, unit="s of a processor"),
        Check("a step of the trainer", step_seconds, unit="s of a processor"),
        Check("throughput of the trainer", 100 * bare_seconds / step_seconds, least=LEAST_SHARE, unit="%"),
        Check("tokens", tokens / step_seconds, unit="a second of a processor"),
    ]
    return Section(
        f"{spec.name}, whole, {batch} clips a step", checks, {"laps": laps, "threads": torch.get_num_threads()}
    )


def utilisation(spec: ModelSpec, blocks: int, laps: int, device: str) -> Section:
    """How well some full-size blocks use a GPU, and what memory a token takes."""
    shortened = shorter(spec, blocks)
    with torch.device(device):
        network = build_network(shortened)
    objective, given = FlowObjective(network), example_pass(spec, device=device)
    recompute_blocks([network])
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5, fused=True)
    batch = on_device(clip_batch(given, 1), device)

    def learn() -> None:
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            objective.losses(batch, 0)["flow"].backward()

    def step() -> None:
        learn()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    held = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    seconds = _timed(step, laps)
    taken = torch.cuda.max_memory_allocated() - held
    own = _flops(spec, shortened)
    ceiling = _ceiling(device)
    tokens = _tokens(spec, given)
    checks = [
        Check("tokens", tokens / seconds, unit="a second"),
        Check("model FLOP", own / seconds / 1e12, unit="T a second"),
        Check("one large product of matrices", ceiling / 1e12, unit="T a second"),
        Check("utilisation of it", 100 * own / seconds / ceiling, unit="%"),
        Check("memory beside weights and their optimiser", taken / tokens / 1024, unit="KiB a token"),
        Check("weights, gradients and optimiser", held / 2**30, unit="GiB"),
    ]
    details = {"blocks": blocks, "tokens": tokens, "seconds a step": seconds, "GPU": torch.cuda.get_device_name()}
    return Section(f"{spec.name}, {blocks} blocks, one clip of {tokens} tokens", checks, details)


def shorter(spec: ModelSpec, blocks: int) -> Any:
    """The sizes of a backbone with so many blocks, and otherwise its own."""
    params: Any = spec.params.backbone
    return dataclasses.replace(params, **{"depth" if hasattr(params, "depth") else "num_layers": blocks})


def _flops(spec: ModelSpec, params: Any) -> int:
    """Multiplications and additions that forward and backward need, what is computed twice counted once."""
    counter = FlopCounterMode(display=False)
    with FakeTensorMode():
        network = filled(shapes_of(params)).requires_grad_(requires_grad=True)
        with counter:
            example_pass(spec).run(network).sum().backward()
    return int(counter.get_total_flops())


def _ceiling(device: str) -> float:
    """Multiplications and additions a second in one large product in bfloat16."""
    left, right = (torch.randn(CEILING, CEILING, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * CEILING**3 / _timed(lambda: left @ right, 20)


def _timed(do: Callable[[], object], laps: int) -> float:
    """Median seconds on a GPU."""
    do()
    taken = []
    for _ in range(laps):
        torch.cuda.synchronize()
        began = time.perf_counter()
        do()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return median(taken)


def _alternately(one: Callable[[], object], other: Callable[[], object], laps: int) -> tuple[float, float]:
    """Median processor seconds of both, taken in turn so that what else happens falls on both."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(laps + 1):
        for do, seconds in zip((one, other), taken, strict=True):
            began = time.process_time()
            do()
            seconds.append(time.process_time() - began)
    first, second = (median(seconds[1:]) for seconds in taken)
    return first, second


def _tokens(spec: ModelSpec, given: Pass) -> int:
    _, high, wide = spec.params.backbone.patch_size
    frames, height, width = given.latents.shape[2:]
    return int(frames * (height // high) * (width // wide))


def _parts(asked: argparse.Namespace) -> Iterator[Section]:
    for name in asked.models or (("longcat", "soul") if asked.device != "cpu" else ("longcat-toon", "soul-toon")):
        if asked.device == "cpu":
            yield overhead(find_model(name), asked.batch, asked.laps)
        else:
            yield utilisation(find_model(name), asked.blocks, asked.laps, asked.device)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", help="by name; small ones on a CPU, full-size ones on a GPU")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=8, help="clips a step, on a CPU")
    parser.add_argument("--blocks", type=int, default=4, help="on a GPU")
    parser.add_argument("--laps", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/speed"))
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    page = write_report(_parts(asked), asked.output, f"training on {asked.device}")
    log.info("%s", page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
