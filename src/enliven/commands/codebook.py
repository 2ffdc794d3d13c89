"""``enliven codebook``: where real latents lie, so that those of a long video can be led back there."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from enliven.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from enliven.models.codebook import Codebook

UNFINISHED = "unfinished"
SHOWN = (0, 1, 10, 50, 90, 95, 99, 100)
BAR = 40

Output = Annotated[Path, Parameter(alias="-o")]


@Parameter(name="*")
@dataclass(frozen=True)
class Learning:
    """How the codebook is learnt. What is left out is as in the paper, or as our specification of it says."""

    size: int | None = None
    """How many centroids. Default: 40000."""
    percentile: float | None = None
    """How many percent of real vectors shall be left alone. Default: 99."""
    unit: Literal["voxel", "patch"] | None = None
    """What a vector is: one cell of a latent frame, or 2 x 2 cells. Default: voxel."""
    per_centroid: bool | None = None
    """Give each centroid a radius of its own."""
    vectors: int | None = None
    """How many vectors to learn from, about as many of each clip. Default: 256 for each centroid."""
    held_out: float | None = None
    """The share of clips to measure distances with instead of learning from them. Default: 0.05."""
    iterations: int | None = None
    """How often the centroids move, at most. Default: 25."""
    seed: int | None = None
    """The same seed and clips give the same codebook."""


def fit(latents: Path, /, *, learning: Learning = Learning(), output: Output = Path("codebook")) -> None:
    """Learn a codebook from a folder of encoded clips; a stopped fit goes on where it was.

    Several processes share the clips:
    torchrun --nproc-per-node 2 -m enliven codebook fit clips

    Args:
        latents: The folder that encoded clips are in, as enliven encode or enliven train made them.
        learning: How.
        output: The folder to write.

    """
    import torch

    from enliven import config
    from enliven.commands.console import say
    from enliven.commands.progress import listener
    from enliven.train.codebook import CodebookRecipe, fit_codebook
    from enliven.train.processes import first_alone, joined

    given = {name: value for name, value in vars(learning).items() if value is not None}
    recipe = config.parse(CodebookRecipe, given)
    check_free(output)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with joined(device):
        with listener() as tell:
            codebook = fit_codebook(latents, recipe, device=device, keep=output / UNFINISHED, on_progress=tell)
        first_alone(lambda: write(codebook, output))
    say(f"{output}: {summary(codebook)}", f"look at it with: enliven codebook show {output}")


def write(codebook: "Codebook", folder: Path) -> None:
    """Save what was learnt, in place of what was kept of it meanwhile. Raises StorageError."""
    import shutil

    from enliven.commands.console import make_folder
    from enliven.models.codebook import save_codebook

    save_codebook(codebook, make_folder(folder))
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)


def show(codebook: Path, /, *, output: Output | None = None) -> None:
    """Say what a codebook is: its radius, the distances of real vectors, and how evenly its centroids are used.

    Args:
        codebook: The folder that enliven codebook fit wrote.
        output: A PNG file to draw distances and use into.

    """
    from enliven.commands.console import say, target
    from enliven.media.storage import replacing
    from enliven.models.codebook import load_codebook

    path = target(output, ".png") if output else None
    found = load_codebook(codebook)
    if path:
        drawn = picture(found)
        with replacing(path) as part:
            drawn.savefig(part, format="png", dpi=110)
    say(f"{codebook}: {summary(found)}", *details(found))


def summary(codebook: "Codebook") -> str:
    """What it is, in a sentence."""
    params, told = codebook.params, codebook.params.provenance
    return (
        f"{params.size} centroids of {params.width} numbers ({params.unit}), "
        f"from {told.vectors} vectors of {told.clips} clips in {told.iterations} iterations"
    )


def details(codebook: "Codebook") -> list[str]:
    """Radius, distances as bars, and use, line by line."""
    params, told = codebook.params, codebook.params.provenance
    table = codebook.percentiles.tolist()
    longest = max(table[-1], 1e-9)
    radius = f"{codebook.radius():.3f} at {params.percentile:g} %"
    if params.per_centroid:
        low, high = codebook.radii().aminmax()
        radius = f"{low:.3f} to {high:.3f} at {params.percentile:g} %, one for each centroid,"
    counts = codebook.counts.sort().values
    return [
        f"  radius     {radius} of {told.held_out} held-out vectors",
        f"  latents    {told.normalisation}; root mean square {told.spread:g}; sha256 {told.data[:12]}",
        "  distance of held-out vectors to their nearest centroid",
        *(
            f"  {percent:5} %    {table[percent]:7.3f} {'█' * round(BAR * table[percent] / longest)}"
            for percent in SHOWN
        ),
        f"  vectors of a centroid: {counts[0]} to {counts[-1]}, median {counts[len(counts) // 2]}",
        f"  centroids without any: {int((counts == 0).sum())}; all are worth {evenness(codebook):.0f} of equal use",
    ]


def evenness(codebook: "Codebook") -> float:
    """How many centroids, used equally often, would tell as much apart: the exponential of the entropy of use."""
    share = codebook.counts.double() / codebook.counts.sum().clamp(min=1)
    return (-(share * share.clamp(min=1e-300).log()).sum()).exp().item()


def picture(codebook: "Codebook") -> "Figure":
    """Distances over percentiles, and how many centroids hold how many vectors. MissingExtra without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtra("pictures of a codebook need matplotlib", hint="pip install 'enliven[plot]'") from error
    own = codebook.params.per_centroid
    figure = Figure(figsize=(15, 4) if own else (11, 4), layout="constrained")
    figure.suptitle(summary(codebook), fontsize=10)
    distances, use, *more = figure.subplots(1, 3 if own else 2)
    draw_distances(distances, codebook)
    draw_histogram(use, codebook.counts.tolist(), "vectors of a centroid")
    for axes in more:
        draw_histogram(axes, codebook.radii().tolist(), "radius of a centroid")
    return figure


def draw_distances(axes: "Axes", codebook: "Codebook") -> None:
    """Distances over percentiles, and the radius among them; in spreads where each centroid has its own."""
    from enliven.models.codebook import value_at

    params, unit = codebook.params, ", in spreads" if codebook.params.per_centroid else ""
    table = codebook.relative if params.per_centroid else codebook.percentiles
    percentile, radius = params.percentile, value_at(table, params.percentile)
    axes.plot(range(101), table.tolist(), color="tab:blue")
    axes.plot([0, percentile, percentile], [radius, radius, 0], color="tab:red", linestyle="--", linewidth=1)
    axes.annotate(f"radius {radius:.3f} at {percentile:g} %", (2, radius), va="bottom", color="tab:red")
    axes.set(xlim=(0, 101), xlabel="percent of held-out vectors", ylabel=f"distance to the nearest centroid{unit}")
    axes.set_ylim(bottom=0)


def draw_histogram(axes: "Axes", values: list[float], label: str) -> None:
    """How many centroids have which value, and the mean."""
    axes.hist(values, bins=60, color="tab:blue")
    axes.set(xlabel=label, ylabel="centroids")
    axes.set_xlim(left=0)
    axes.axvline(sum(values) / len(values), color="tab:red", linestyle="--", linewidth=1, label="mean")
    axes.legend()


def check_free(folder: Path) -> None:
    """Refuse a folder that holds anything but a codebook or an unfinished one. Raises ConfigError."""
    held = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if held - {UNFINISHED, f"{UNFINISHED}.new", f"{UNFINISHED}.old"} and "config.json" not in held:
        raise ConfigError(f"{folder} holds other files", hint="give -o a folder that is empty or not there yet")
