"""``enliven models``: which models there are, whether their weights are here and whole, and how to fetch them."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App, Parameter

from enliven.errors import WeightsError

if TYPE_CHECKING:
    from enliven.models.published import Part, Published
    from enliven.models.releases import Release
    from enliven.models.weights import Fit
    from enliven.systems.spec import ModelSpec

SHOWN = 8
MIB = 2**20

models = App(name="models", default_parameter=Parameter(negative=()))


class Unusable(WeightsError):
    """What ``check`` found."""

    exit_code = 2


@models.default
@models.command(name="list")
def list_models() -> None:
    """List the models, and the publications whose folders can be used."""
    from enliven.commands.console import say
    from enliven.models.releases import RELEASES
    from enliven.systems import offered

    made = [description(spec) for spec in offered()]
    say("\n\n".join([*made, *(publication(release) for release in RELEASES.values())]))


@models.command
def show(name: str, *, variant: str | None = None, base: Path | None = None) -> None:
    """Say what a model, a publication or a folder of weights is.

    Args:
        name: A model, a publication, or a folder.
        variant: Of a published folder with several backbones, which one.
        base: The folder of LongCat-Video, where it is not beside that of the avatar.

    """
    from enliven.commands.console import say
    from enliven.models.published import open_published
    from enliven.models.releases import find_release
    from enliven.systems import MODELS

    if name in MODELS:
        say(description(MODELS[name]))
    elif Path(name).is_dir():
        say(contents(open_published(Path(name), variant, base)))
    else:
        say(publication(find_release(name)))


@models.command
def check(folder: Path, *, variant: str | None = None, base: Path | None = None) -> None:
    """Compare the headers of all weights in a folder with the networks they are for, and these with each other.

    Args:
        folder: A published folder, or one that was saved here.
        variant: Of a published folder with several backbones, which one.
        base: The folder of LongCat-Video, where it is not beside that of the avatar.

    """
    from enliven.commands.console import say
    from enliven.models.marks import require_marked
    from enliven.models.networks import shapes_of

    faults: list[WeightsError] = []
    try:
        parts, loras = parts_of(folder, variant, base)
    except WeightsError as error:
        raise Unusable(str(error), hint=error.hint) from error
    for name, part in parts.items():
        try:
            fit = part.fit()
            say(f"{name:12} {part.folder.name:22} {summary(fit)}", *listed(fit))
            _require(part, fit)
        except WeightsError as error:
            faults.append(error)
    for path in loras:
        try:
            _require_lora(parts["backbone"], path)
            say(f"{'lora':12} {path.name:22} fits")
        except WeightsError as error:
            faults.append(error)
    if not faults:
        try:
            shapes_of(parts)
            require_marked({name: part.folder for name, part in parts.items()})
        except WeightsError as error:
            faults.append(error)
    if faults:
        several = f"{len(faults)} of {len(parts) + len(loras)} parts cannot be used; the first: "
        raise Unusable(f"{several if len(faults) > 1 else ''}{faults[0]}", hint=faults[0].hint)
    say(f"all of {folder} fits")


@models.command
def convert(folder: Path) -> None:
    """Write safetensors beside the pickle of a folder, as pytorch_model.bin. It is read as tensors alone: no code runs.

    Args:
        folder: Where the pickle is.

    """
    from enliven.commands.console import say
    from enliven.models.pickles import convert_pickles

    for path in convert_pickles(folder):
        say(f"{path}  {path.stat().st_size / MIB:.1f} MiB")


@models.command
def download(name: str, *, variant: str | None = None, into: Path = Path("weights"), dry_run: bool = False) -> None:
    """Fetch a publication and what it shares with the base; what is complete is not fetched again.

    Args:
        name: The publication, as LongCat-Video-Avatar-1.5.
        variant: Which backbone, as int8. Default: the first one.
        into: The folder that gets a folder for each publication.
        dry_run: Only say what would be fetched.

    """
    from enliven.commands.console import make_folder, say
    from enliven.models.releases import IGNORED, fetches, find_release

    release = find_release(name)
    wanted = fetches(release, variant)
    for fetch in wanted:
        folders = ", ".join(dict.fromkeys(pattern.split("/")[0] for pattern in fetch.patterns))
        say(f"{fetch.repository} ({folders}) to {into / fetch.name}")
    if release.note:
        say(release.note)
    if dry_run:
        return
    from huggingface_hub import snapshot_download

    for fetch in wanted:
        target = make_folder(into / fetch.name)
        try:
            snapshot_download(
                fetch.repository, local_dir=target, allow_patterns=list(fetch.patterns), ignore_patterns=list(IGNORED)
            )
        except (OSError, ValueError) as error:
            raise WeightsError(
                f"cannot fetch {fetch.repository}: {error}",
                hint="check the connection and the free space; a second try goes on where this one stopped",
            ) from error
    say(f"next: enliven models check {into / release.name}")


def description(spec: "ModelSpec") -> str:
    """What a model is, in a few lines."""
    geometry, (height, width) = spec.geometry, spec.size
    clip = f"{geometry.frames} frames, {geometry.context} of them repeated, at {geometry.fps} a second"
    return "\n".join(
        [
            f"{spec.name}: {spec.summary}",
            f"  picture   {width}x{height}",
            f"  clip      {clip}",
            f"  sampling  {spec.steps} steps, {spec.guidance}",
            f"  weights   {place(spec)}",
        ]
    )


def place(spec: "ModelSpec") -> str:
    """Where the weights of a model are, and how large; or why they are not."""
    try:
        folder = spec.weights
        parts = [folder] if spec.release is None else used(spec, folder)
    except WeightsError as error:
        return f"not here: {error.hint}"
    size = sum(path.stat().st_size for part in parts for path in part.rglob("*") if path.is_file())
    return f"{size / MIB:.1f} MiB in {folder}"


def used(spec: "ModelSpec", folder: Path) -> list[Path]:
    """Of a published folder and the base beside it, what a model uses. Raises WeightsError where that is incomplete."""
    from enliven.models.published import open_published
    from enliven.models.releases import recognise

    if recognise(folder) is None:
        return [folder]
    opened = open_published(folder, spec.variant)
    return [*(part.folder for part in opened.parts.values()), *([folder / "lora"] if spec.distillation else [])]


def publication(release: "Release") -> str:
    """What is published under a name, in a few lines."""
    lines = [
        f"{release.name}: weights published at {release.repository}",
        f"  variants  {', '.join(release.backbones)}",
        f"  fetch     enliven models download {release.name}",
    ]
    return "\n".join([*lines, *([f"  note      {release.note}"] if release.note else [])])


def contents(published: "Published") -> str:
    """What a published folder holds, in a few lines."""
    sizes, audio = published.sizes, published.sizes.audio
    network = f"{sizes.depth} blocks of width {sizes.hidden_size}"
    heard = f"hears {audio.audio_block} x {audio.audio_channel} a feature" if audio else "hears nothing"
    lines = [
        f"{published.release.name}, {published.variant}: {network}, {heard}",
        f"  schedule     shift {published.shift:g}",
        *(f"  {name:12} {part.folder}" for name, part in published.parts.items()),
        *(f"  lora         {path}" for path in published.loras.values()),
    ]
    return "\n".join(lines)


def parts_of(folder: Path, variant: str | None, base: Path | None) -> tuple[dict[str, "Part"], list[Path]]:
    """The networks of a folder and its LoRAs: a published one, or one that was saved here. Raises WeightsError."""
    from enliven.models.layered import own_loras, saved_parts
    from enliven.models.networks import saved_part
    from enliven.models.published import open_published
    from enliven.models.releases import recognise

    saved = saved_parts(folder) if recognise(folder) is None else {}
    if "backbone" in saved:
        return {name: saved_part(path, name) for name, path in saved.items()}, own_loras(folder)
    published = open_published(folder, variant, base)
    return dict(published.parts), list(published.loras.values())


def summary(fit: "Fit") -> str:
    """Number, size and types of the tensors in a line."""
    types = ", ".join(f"{count} {dtype}" for dtype, count in sorted(fit.counts.items()))
    unused = f", {fit.unused} of other use" if fit.unused else ""
    return f"{fit.nbytes / MIB:10.1f} MiB  {types}{unused}: {'DOES NOT FIT' if fit.faults else 'fits'}"


def listed(fit: "Fit") -> Iterator[str]:
    """What is wrong, name by name."""
    for kind, names in fit.faults.items():
        yield f"  {len(names)} {kind}:"
        yield from (f"    {name}" for name in names[:SHOWN])
        if len(names) > SHOWN:
            yield f"    and {len(names) - SHOWN} more"


def _require(part: "Part", fit: "Fit") -> None:
    from enliven.models.published import require_fit

    require_fit(part.folder, fit)


def _require_lora(backbone: "Part", path: Path) -> None:
    import torch

    from enliven.models.lora import fit_lora

    with torch.device("meta"):
        network = backbone.build()
    fit_lora(network, path)
