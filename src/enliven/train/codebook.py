"""Soul's codebook from a folder of encoded clips: a fair sample of their vectors, k-means, and how far real ones lie.

The first latent of a clip stands for one frame instead of four and follows another distribution, so it is left out.
"""

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy
import torch
from jaxtyping import Float, Int
from torch import Tensor

from enliven.data.latents import StoredClip, find_clips
from enliven.errors import ConfigError
from enliven.models.codebook import Codebook, CodebookParams, Provenance, Unit, check_percentile, nearest, to_vectors
from enliven.train import checkpoint
from enliven.train.clusters import Clusters, Start, choose, cluster
from enliven.train.processes import collected, own_share, rank_and_count, summed
from enliven.types import OnProgress, Progress, ignore_progress

PER_CENTROID = 256  # vectors; more move a mean too little to be worth the time
LEAST_HELD_OUT = 100_000  # vectors, where the clips have them: the last percents are of few
SMALLEST = 1e-6  # spread of a centroid whose vectors are all the same


@dataclass(frozen=True, slots=True)
class CodebookRecipe:
    """How a codebook is learnt; see ``CodebookParams`` for what it then is. Raises ConfigError.

    ``vectors``: how many to learn from, about as many of each clip; None means 256 for each centroid. ``held_out``:
    the share of clips that is kept back to measure distances with.
    """

    size: int = 40_000
    unit: Unit = "voxel"
    percentile: float = 99.0
    per_centroid: bool = False
    iterations: int = 25
    vectors: int | None = None
    held_out: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("size", "iterations", "vectors"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} {value} is none", hint="give at least 1")
        check_percentile(self.percentile)
        if not 0 < self.held_out < 1:
            raise ConfigError(f"held-out {self.held_out:g} is not a share of the clips", hint="for example 0.05")


@dataclass(frozen=True, slots=True)
class Sample:
    """Vectors of some clips, and the SHA-256 of those of each clip."""

    vectors: Float[Tensor, "n width"]
    digests: tuple[str, ...]


def fit_codebook(
    folder: Path,
    recipe: CodebookRecipe,
    *,
    device: torch.device | str = "cpu",
    keep: Path | None = None,
    on_progress: OnProgress = ignore_progress,
) -> Codebook:
    """A codebook of the encoded clips in ``folder``, in files or in shards.

    Where ``torch.distributed`` runs, each process reads its share. After every update of the centroids the state goes
    to ``keep``, and a fit that finds its own state there goes on from it. Raises ConfigError where the clips are too
    few, no clips, or of several autoencoders, and MediaError for a damaged shard.
    """
    learnt, held_out = split_clips(stored_clips(folder), recipe.held_out, recipe.seed)
    params = CodebookParams(recipe.size, len(learnt[0].latents()), recipe.unit, recipe.percentile, recipe.per_centroid)
    per_clip = math.ceil((recipe.vectors or PER_CENTROID * recipe.size) / len(learnt))
    sample = sample_vectors(own_share(learnt), params, per_clip, recipe.seed, on_progress)
    vectors = sample.vectors.to(device)
    count = int(summed(torch.tensor(len(vectors), device=device)))
    if count < recipe.size:
        raise ConfigError(
            f"{recipe.size} centroids are too many for {count} vectors of {len(learnt)} clips",
            hint=f"encode more clips, or give --size, and --vectors if you gave it, at most {count}",
        )
    data = hashlib.sha256("".join(collected(sample.digests)).encode()).hexdigest()
    clusters = learn(vectors, recipe, data, keep, on_progress)
    per_clip = max(per_clip, math.ceil(LEAST_HELD_OUT / len(held_out)))
    kept_back = sample_vectors(own_share(held_out), params, per_clip, recipe.seed, on_progress)
    index, distances = measure(kept_back.vectors.to(device), clusters.centroids, on_progress)
    provenance = Provenance(
        data=data,
        spread=round(math.sqrt(float(summed(vectors.double().square().sum())) / (count * params.width)), 4),
        clips=len(learnt),
        vectors=count,
        held_out=len(distances),
        iterations=clusters.iterations,
        seed=recipe.seed,
    )
    return assemble(replace(params, provenance=provenance), clusters, index, distances)


def stored_clips(folder: Path) -> list[StoredClip]:
    """The encoded clips of a folder, see ``find_clips``. Raises ConfigError where there are fewer than two."""
    clips = find_clips(folder)
    if len(clips) < 2:
        found = "1 encoded clip" if clips else "no encoded clips"
        raise ConfigError(f"{folder} holds {found}; at least 2 are needed", hint="enliven encode makes them")
    return clips


def split_clips(clips: Sequence[StoredClip], share: float, seed: int) -> tuple[list[StoredClip], list[StoredClip]]:
    """Clips to learn from, and clips to measure with: at least one each, chosen by ``seed``."""
    count = min(max(1, round(share * len(clips))), len(clips) - 1)
    chosen = set(random.Random(seed).sample(range(len(clips)), count))
    return [clip for i, clip in enumerate(clips) if i not in chosen], [clips[i] for i in sorted(chosen)]


def sample_vectors(
    clips: Sequence[StoredClip],
    params: CodebookParams,
    per_clip: int,
    seed: int,
    on_progress: OnProgress = ignore_progress,
) -> Sample:
    """At most ``per_clip`` vectors of each clip, every one as likely; they depend on the seed and the clip's name.

    Raises ConfigError for a clip of other channels, or one that cannot be used.
    """
    vectors, filled, digests = torch.empty(len(clips) * per_clip, params.width), 0, []
    for done, clip in enumerate(clips, start=1):
        latents = clip.latents()
        if len(latents) != params.channels:
            raise ConfigError(
                f"{clip.place} has {len(latents)} channels, other clips have {params.channels}",
                hint="encode all clips with the same autoencoder",
            )
        number = int.from_bytes(hashlib.sha256(f"{seed} {clip.name}".encode()).digest()[:7], "big")
        try:
            every = to_vectors(latents[None, :, 1:], params.unit)
        except ValueError as error:
            raise ConfigError(f"{clip.place}: {error}", hint="--unit voxel takes frames of any size") from None
        chosen = every[torch.randperm(len(every), generator=torch.Generator().manual_seed(number))[:per_clip]]
        vectors[filled : filled + len(chosen)] = chosen
        filled += len(chosen)
        digests.append(hashlib.sha256(chosen.contiguous().numpy().tobytes()).hexdigest())
        on_progress(Progress("reading clips", done, len(clips)))
    return Sample(vectors[:filled], tuple(digests))


def learn(
    vectors: Float[Tensor, "n width"], recipe: CodebookRecipe, data: str, keep: Path | None, on_progress: OnProgress
) -> Clusters:
    """k-means of the vectors, from the beginning or from what is kept of the same data and recipe."""
    mark = hashlib.sha256(f"{data} {recipe.size} {recipe.seed}".encode()).digest()[:6]
    number = float(int.from_bytes(mark, "big"))  # 48 bits, which a counter holds exactly

    def store(state: Start) -> None:
        if keep and rank_and_count()[0] == 0:
            tensors = {"clusters": {"centroids": state.centroids}}
            checkpoint.save(keep, tensors=tensors, counters={"data": number, "iterations": state.iterations})

    start = None
    if keep and checkpoint.find(keep):
        tensors, counters = checkpoint.load(keep)
        if counters["data"] == number and counters["iterations"] <= recipe.iterations:
            start = Start(tensors["clusters"]["centroids"].to(vectors.device), int(counters["iterations"]))
    start = start or choose(vectors, recipe.size, recipe.seed)
    return cluster(vectors, start, iterations=recipe.iterations, on_update=store, on_progress=on_progress)


def assemble(
    params: CodebookParams, clusters: Clusters, index: Int[Tensor, " n"], distances: Float[Tensor, " n"]
) -> Codebook:
    """The codebook of these clusters, with percentiles by how far held-out vectors are from their nearest centroid."""
    codebook = Codebook(params)
    codebook.centroids.copy_(clusters.centroids)
    codebook.counts.copy_(clusters.counts)
    codebook.spreads.copy_(spreads(clusters))
    codebook.percentiles.copy_(percentiles(distances))
    codebook.relative.copy_(percentiles(distances / codebook.spreads[index]))
    return codebook


def spreads(clusters: Clusters) -> Float[Tensor, " k"]:
    """The root mean square distance of each centroid's vectors, with one more vector that lies as is usual.

    That one speaks for centroids with few vectors, and replaces the degree of freedom that the mean has taken.
    """
    several = clusters.counts > 1
    variances = clusters.squared[several] / (clusters.counts[several] - 1)
    usual = variances.median() if len(variances) else clusters.squared.new_ones(())
    return ((clusters.squared + usual) / clusters.counts.clamp(min=1)).sqrt().clamp(min=SMALLEST).float()


def percentiles(values: Float[Tensor, " n"]) -> Float[Tensor, " 101"]:
    """The values below which 0 .. 100 % of all are."""
    return torch.from_numpy(numpy.percentile(values.numpy(), numpy.arange(101)))


def measure(
    vectors: Float[Tensor, "n width"], centroids: Float[Tensor, "k width"], on_progress: OnProgress = ignore_progress
) -> tuple[Int[Tensor, " m"], Float[Tensor, " m"]]:
    """The nearest centroid and its distance, for the vectors of all processes. Raises ConfigError without any."""
    index, distances = nearest(vectors, centroids)
    index, distances = (torch.cat(collected([part.cpu()])) for part in (index, distances))
    if not len(index):
        raise ConfigError("the held-out clips have no latents after their first", hint="encode longer clips")
    on_progress(Progress("measuring distances", 1, 1))
    return index, distances
