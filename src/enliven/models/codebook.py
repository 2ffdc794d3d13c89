"""Soul's threshold-aware codebook (3.2): where real latents lie, and how latents that have strayed come back.

A vector is one cell of one latent frame (unit ``voxel``), or the 2 x 2 cells that are one token of a backbone (unit
``patch``), in the normalised space that backbones see.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from enliven import config
from enliven.errors import ConfigError, WeightsError
from enliven.media.storage import replacing
from enliven.models.weights import load_weights, save_weights

Unit = Literal["voxel", "patch"]

SIDE: dict[Unit, int] = {"voxel": 1, "patch": 2}
NETWORK = "codebook"
GROUP = 64  # centroids whose best score is found first, because a maximum is much quicker than where it is
CACHED_SCORES = 2**20  # scores that stay near a processor core until they are read again
FEWEST_ROWS = 128
GPU_SCORES = 2**26


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a codebook was learnt from.

    ``data`` is the SHA-256 of all vectors, ``spread`` their root mean square: about 1 where latents are normalised.
    """

    data: str = ""
    normalisation: str = "as backbones see them"
    spread: float = 0.0
    clips: int = 0
    vectors: int = 0
    held_out: int = 0
    iterations: int = 0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class CodebookParams:
    """``size`` centroids for latents of ``channels`` channels, and how far from one a latent may be.

    ``percentile``: the share of real vectors, in percent, that are left alone. ``per_centroid``: each centroid has a
    radius of its own, in proportion to its spread; the paper draws equal ones.
    """

    size: int = 40_000
    channels: int = 48
    unit: Unit = "voxel"
    percentile: float = 99.0
    per_centroid: bool = False
    provenance: Provenance = Provenance()

    def __post_init__(self) -> None:
        check_percentile(self.percentile)

    @property
    def width(self) -> int:
        """How many numbers a vector has."""
        return int(self.channels * SIDE[self.unit] ** 2)


class Codebook(nn.Module):
    """Centroids of real latents, and the radius round each within which a latent counts as real.

    ``counts``: how many vectors each centroid was the mean of; ``spreads``: the root mean square of their distances.
    ``percentiles``: the distance of held-out real vectors to their nearest centroid, at 0 .. 100 %; ``relative``: the
    same in units of that centroid's spread.
    """

    centroids: Float[Tensor, "k width"]
    counts: Int[Tensor, " k"]
    spreads: Float[Tensor, " k"]
    percentiles: Float[Tensor, " 101"]
    relative: Float[Tensor, " 101"]

    def __init__(self, params: CodebookParams) -> None:
        super().__init__()
        self.params = params
        self.register_buffer("centroids", torch.zeros(params.size, params.width))
        self.register_buffer("counts", torch.zeros(params.size, dtype=torch.int64))
        self.register_buffer("spreads", torch.zeros(params.size))
        self.register_buffer("percentiles", torch.zeros(101))
        self.register_buffer("relative", torch.zeros(101))

    def radius(self, percentile: float | None = None) -> float:
        """The distance to the nearest centroid that ``percentile`` % of real vectors keep below.

        Raises ConfigError outside 0 .. 100.
        """
        return value_at(self.percentiles, self.params.percentile if percentile is None else percentile)

    def radii(self, percentile: float | None = None) -> Float[Tensor, " k"]:
        """The radius of each centroid: all equal, or as wide as its spread where the parameters say so.

        Either way ``percentile`` % of real vectors lie within. Raises ConfigError outside 0 .. 100.
        """
        if not self.params.per_centroid:
            return torch.full_like(self.spreads, self.radius(percentile))
        wanted = self.params.percentile if percentile is None else percentile
        return self.spreads.float() * value_at(self.relative, wanted)

    @torch.no_grad()
    def repair(
        self, latents: Float[Tensor, "b c t h w"], percentile: float | None = None
    ) -> tuple[Float[Tensor, "b c t h w"], float]:
        """Latents that lie within the radius of their nearest centroid, and the share of vectors that did not.

        A vector ``f`` at distance ``d`` of its nearest centroid ``c`` stays as it is, bit for bit, where ``d`` is at
        most the radius, and otherwise becomes ``c + radius (f - c) / d``. Another ``percentile`` than that of the
        parameters needs no new codebook.

        Raises WeightsError where the latents have other channels, ConfigError for a percentile outside 0 .. 100.
        """
        if latents.shape[1] != self.params.channels:
            raise WeightsError(
                f"the codebook is for latents of {self.params.channels} channels, these have {latents.shape[1]}",
                hint="fit a codebook on latents of this model's autoencoder: enliven codebook fit",
            )
        vectors, centroids = to_vectors(latents, self.params.unit), self.centroids.float()
        index, distance = nearest(vectors.float(), centroids)
        radius, centre = self.radii(percentile)[index], centroids[index]
        outside = distance > radius
        moved = centre + (vectors.float() - centre) * (radius / distance)[:, None]
        repaired = torch.where(outside[:, None], moved.to(latents.dtype), vectors)
        return to_latents(repaired, latents.shape, self.params.unit), outside.float().mean().item()


def to_vectors(latents: Float[Tensor, "b c t h w"], unit: Unit) -> Float[Tensor, "n width"]:
    """The vectors of latents, frame by frame and row by row. ValueError where whole patches do not fill a frame."""
    side, (height, width) = SIDE[unit], latents.shape[-2:]
    if height % side or width % side:
        raise ValueError(f"{height} x {width} cells do not fill patches of {side} x {side}; give even sides")
    return rearrange(latents, "b c t (h p) (w q) -> (b t h w) (c p q)", p=side, q=side)


def to_latents(vectors: Float[Tensor, "n width"], shape: torch.Size, unit: Unit) -> Float[Tensor, "b c t h w"]:
    """The inverse of ``to_vectors``, for latents of that shape."""
    side, (b, _, t, height, width) = SIDE[unit], shape
    sizes = {"b": b, "t": t, "h": height // side, "w": width // side}
    return rearrange(vectors, "(b t h w) (c p q) -> b c t (h p) (w q)", **sizes, p=side, q=side)


def nearest(
    vectors: Float[Tensor, "n width"], centroids: Float[Tensor, "k width"]
) -> tuple[Int[Tensor, " n"], Float[Tensor, " n"]]:
    """The nearest centroid of each vector, and how far it is.

    Scores ``f.c - |c|^2 / 2`` find it, some hundred rows at a time whatever ``n`` and ``k`` are; the distance is then
    taken of the difference itself, so that no digits cancel. Of equal centroids the first is
    taken; of two that are as near to six digits, either.
    """
    middle = centroids.mean(dim=0)
    grouped = _scorer(centroids - middle)
    indices = torch.empty(len(vectors), dtype=torch.int64, device=vectors.device)
    distances = torch.empty(len(vectors), device=vectors.device)
    for rows in _chunks(len(vectors), len(grouped[0]), vectors.device):
        chunk = vectors[rows]
        scores = (F.pad(chunk - middle, (0, 1), value=1.0) @ grouped).unflatten(1, (-1, GROUP))
        group = scores.amax(dim=2).argmax(dim=1)
        within = scores[torch.arange(len(chunk), device=chunk.device), group].argmax(dim=1)
        indices[rows] = group * GROUP + within
        distances[rows] = (chunk - centroids[indices[rows]]).norm(dim=1)
    return indices, distances


def _scorer(centroids: Float[Tensor, "k width"]) -> Float[Tensor, "width1 k1"]:
    """The matrix that scores a vector with a 1 behind it. Columns that fill up the last group can never win."""
    scorer = torch.cat([centroids, -centroids.square().sum(dim=1, keepdim=True) / 2], dim=1)
    missing = -len(centroids) % GROUP
    filled = F.pad(scorer, (0, 0, 0, missing))
    filled[len(centroids) :, -1] = -torch.inf
    return filled.T.contiguous()


def _chunks(rows: int, columns: int, device: torch.device) -> Iterator[slice]:
    """Slices of all rows, so that the scores of one stay small: in cache, or a small share of a GPU."""
    most = CACHED_SCORES if device.type == "cpu" else GPU_SCORES
    step = max(FEWEST_ROWS, most // columns)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def save_codebook(codebook: Codebook, folder: Path) -> None:
    """Write a codebook as a folder of ``config.json`` and safetensors, in full precision. Raises StorageError."""
    save_weights(codebook, folder, torch.float32)
    with replacing(folder / "config.json") as part:
        part.write_text(json.dumps({"network": NETWORK, **asdict(codebook.params)}, indent=1) + "\n", encoding="utf-8")


def load_codebook(folder: Path) -> Codebook:
    """Read what ``save_codebook`` wrote. Raises WeightsError where that is not what is there."""
    params = read_codebook_params(folder)
    return load_weights(lambda: Codebook(params), folder)


def read_codebook_params(folder: Path) -> CodebookParams:
    """The sizes of a codebook. Raises WeightsError where ``folder`` is not that of one."""
    path = folder / "config.json"
    hint = "give the folder that enliven codebook fit wrote"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        found = values.pop("network", None)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise WeightsError(f"{folder} is not the folder of a codebook: cannot read {path.name}", hint=hint) from error
    if found != NETWORK:
        raise WeightsError(f"{folder} is not the folder of a codebook: {path.name} says {found!r}", hint=hint)
    try:
        return config.parse(CodebookParams, values)
    except ConfigError as error:
        raise WeightsError(f"{path} does not describe a codebook: {error}", hint=hint) from error


def value_at(table: Float[Tensor, " 101"], percentile: float) -> float:
    """The value at a percentile; between whole percents, a straight line."""
    check_percentile(percentile)
    low = min(int(percentile), 99)
    below, above = table[low : low + 2].tolist()
    return below + (percentile - low) * (above - below)


def check_percentile(percentile: float) -> None:
    """Raise ConfigError for what is not a percentile."""
    if not 0 <= percentile <= 100:
        raise ConfigError(f"{percentile:g} is not a percentile", hint="give 0 to 100, for example 99")
