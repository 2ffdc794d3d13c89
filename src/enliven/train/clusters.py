"""k-means by Lloyd's algorithm, for many vectors and many centroids, in one process or several.

    python -m enliven.train.clusters --vectors 1000000 --width 48 --size 4096 --iterations 25

says as JSON how long that takes here. Where ``torch.distributed`` runs, each process brings its own share of the
vectors, and all get what one process with all of them, in the order of the ranks, would get.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, distributed

from enliven.models.codebook import nearest
from enliven.train.processes import rank_and_count, summed
from enliven.types import OnProgress, Progress, ignore_progress

PIECE = 2**16  # vectors between two words about the progress
NUDGE = 1e-3  # how far two halves of a split centroid start from each other, of the spread of all


@dataclass(frozen=True, slots=True)
class Start:
    """Centroids after ``iterations`` updates: 0 where they were just chosen."""

    centroids: Float[Tensor, "k width"]
    iterations: int = 0


@dataclass(frozen=True, slots=True)
class Clusters:
    """Centroids, how many vectors are nearest to each, and the sum of their squared distances."""

    centroids: Float[Tensor, "k width"]
    counts: Int[Tensor, " k"]
    squared: Float[Tensor, " k"]
    iterations: int


OnUpdate = Callable[[Start], None]


def cluster(
    vectors: Float[Tensor, "n width"],
    start: Start,
    *,
    iterations: int = 25,
    on_update: OnUpdate | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Clusters:
    """Move each centroid to the mean of the vectors nearest to it, until nothing moves or ``iterations`` are done.

    A centroid without vectors takes half of those of a centroid with many. ``start`` comes from ``choose``, or from
    ``on_update``, which hears of every update: going on from there gives the very same clusters.
    """
    state, pieces = start, -(-len(vectors) // PIECE)
    total = (iterations + 1) * pieces

    def tell(done: int) -> None:
        on_progress(Progress("k-means", state.iterations * pieces + done, total))

    while True:
        means, counts, squared = _means(vectors, state.centroids, tell)
        moved = split_empty(means, counts)
        settled = torch.equal(moved, state.centroids)
        if settled or state.iterations >= iterations:
            return Clusters(state.centroids, counts, squared, state.iterations)
        state = Start(moved, state.iterations + 1)
        if on_update:
            on_update(state)


def choose(vectors: Float[Tensor, "n width"], size: int, seed: int) -> Start:
    """``size`` of the vectors of all processes, by chance. ValueError where there are fewer."""
    rank, processes = rank_and_count()
    own = torch.zeros(processes, dtype=torch.int64, device=vectors.device)
    own[rank] = len(vectors)
    shares = summed(own).tolist()
    if size > sum(shares):
        raise ValueError(f"{size} centroids cannot be chosen from {sum(shares)} vectors")
    order = torch.randperm(sum(shares), generator=torch.Generator().manual_seed(seed))[:size].to(vectors.device)
    order -= sum(shares[:rank])
    here = (order >= 0) & (order < len(vectors))
    centroids = vectors.new_zeros(size, vectors.shape[1])
    centroids[here] = vectors[order[here]]
    return Start(summed(centroids))


def split_empty(centroids: Float[Tensor, "k width"], counts: Int[Tensor, " k"]) -> Float[Tensor, "k width"]:
    """Centroids without vectors, moved beside those with the most vectors, each to a little off the old place."""
    empty = (counts == 0).nonzero().squeeze(1)
    if not len(empty):
        return centroids
    givers = counts.topk(min(len(empty), int((counts > 1).sum()))).indices
    step = centroids[counts > 0].std(dim=0, correction=0) * NUDGE
    step[1::2] *= -1
    split = centroids.clone()
    split[empty[: len(givers)]] = centroids[givers] + step
    split[givers] -= step
    return split


def _means(
    vectors: Float[Tensor, "n width"], centroids: Float[Tensor, "k width"], tell: Callable[[int], None]
) -> tuple[Float[Tensor, "k width"], Int[Tensor, " k"], Float[Tensor, " k"]]:
    """Of the vectors nearest to each centroid: their mean, how many they are, and the sum of squared distances.

    A centroid without any stays where it is.
    """
    sums = torch.zeros_like(centroids, dtype=torch.float64)
    squared, counts = sums.new_zeros(len(sums)), sums.new_zeros(len(sums), dtype=torch.int64)
    for done, piece in enumerate(vectors.split(PIECE), start=1):
        index, distances = nearest(piece, centroids)
        sums.index_add_(0, index, piece.double())
        squared.index_add_(0, index, distances.double().square())
        counts += torch.bincount(index, minlength=len(counts))
        tell(done)
    sums, squared, counts = summed(sums), summed(squared), summed(counts)
    means = (sums / counts.clamp(min=1)[:, None]).to(centroids.dtype)
    return torch.where(counts[:, None] > 0, means, centroids), counts, squared


def main() -> None:
    """Measure, and write JSON to standard output; under ``torch.distributed.run``, all processes together."""
    parser = argparse.ArgumentParser(description="time of one k-means of random vectors, as JSON")
    for name, default in (("vectors", 1_000_000), ("width", 48), ("size", 4096), ("iterations", 25)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    if distributed.is_torchelastic_launched():
        distributed.init_process_group("gloo")
    rank, processes = rank_and_count()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    every = torch.randn(asked.vectors, asked.width, generator=torch.Generator().manual_seed(0))
    vectors = every[asked.vectors * rank // processes : asked.vectors * (rank + 1) // processes].to(device)
    began, worked = time.perf_counter(), time.process_time()
    start = choose(vectors, asked.size, seed=0)
    clusters = cluster(vectors, start, iterations=asked.iterations, on_progress=ignore_progress if rank else _say)
    counted = int(clusters.counts.sum())  # waits for the device
    seconds = time.perf_counter() - began
    processor_seconds = float(summed(torch.tensor(time.process_time() - worked)))
    flops = 2 * counted * asked.width * asked.size * (clusters.iterations + 1)
    report = {
        **vars(asked),
        "iterations": clusters.iterations,
        "seconds": round(seconds, 2),
        "processor_seconds": round(processor_seconds, 2),
        "gflop_per_second": round(flops / seconds / 1e9, 3),
        "mean_squared_distance": round(float(clusters.squared.sum()) / counted, 4),
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine(),
        "processes": processes,
        "threads": torch.get_num_threads(),
    }
    if rank == 0:
        sys.stdout.write(json.dumps(report) + "\n")
    if processes > 1:
        distributed.destroy_process_group()


def _say(progress: Progress) -> None:
    """On standard error, in place."""
    sys.stderr.write(f"\r{progress.stage}: {100 * progress.fraction:3.0f} %{chr(10) * (progress.fraction == 1)}")


if __name__ == "__main__":
    main()
