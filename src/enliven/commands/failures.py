"""``enliven failures``: what a model fails at when it is led there, as shards to train on."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from enliven.errors import ConfigError, MediaError
from enliven.runtime.memory import Memory

if TYPE_CHECKING:
    from enliven.types import OnProgress, Progress

STAGE = "making failures"


@Parameter(name="*")
@dataclass(frozen=True)
class Leading:
    """Where guidance leads, and how strongly."""

    negative_prompt: str | None = None
    """What fails, in phrases with commas between. Default: the negative prompt of the model."""
    weakest: float = 3.0
    """Least guidance away from the caption, to those words."""
    strongest: float = 6.0
    """Most guidance; each failure has its own between them."""
    seed: int = 0
    """Another seed makes other failures of the same clips, which may join those that are there."""


@Parameter(name="*")
@dataclass(frozen=True)
class Failed:
    """Which model fails."""

    model: str | None = None
    """Name of the model, one of Soul. Default: what the weights are for."""
    weights: Path | None = None
    """Folder of weights, as published or saved here. Default: looked for where ENLIVEN_WEIGHTS says."""
    memory: Memory = "auto"
    """What the model may take, as of `enliven generate`."""


AS_PUBLISHED, LOADED = Leading(), Failed()


def failures(
    shards: Path,
    /,
    *,
    output: Annotated[Path, Parameter(alias="-o")],
    count: int | None = None,
    leading: Leading = AS_PUBLISHED,
    failed: Failed = LOADED,
    part: str = "0/1",
) -> None:
    """Make failures of clips of people: negative examples for training, captioned with words of the negative prompt.

    Prompt and negative prompt change places in guidance. What fails to fail is told and left out. The same command
    again goes on where it was.

    Args:
        shards: Folder of shards that enliven encode has made for this model. It stays as it is.
        output: Another folder, for the shards of failures: a source of a recipe.
        count: Of how many clips. Default: of each.
        part: Which part of the work this process does, from 0, and of how many: 3/8.

    """
    from enliven.commands.console import say
    from enliven.commands.encode import process_of, stoppable, summary
    from enliven.commands.generate import load
    from enliven.commands.progress import listener
    from enliven.data.gathering import gather
    from enliven.data.manifest import read_manifest
    from enliven.runtime.choices import Choices
    from enliven.systems import choose_model
    from enliven.train.failures import Failing, FailureMaker, choose_rows
    from enliven.train.made_by import require_same_of

    process = process_of(part)
    if output.resolve() == shards.resolve():
        raise ConfigError(f"{output} holds the clips that failures are made of", hint="name another folder")
    spec = choose_model(failed.model, failed.weights)
    rows = choose_rows(shards, spec, leading.seed, count)
    words = spec.negative_prompt if leading.negative_prompt is None else leading.negative_prompt
    failing = Failing(words, leading.weakest, leading.strongest, leading.seed)
    with listener() as tell, stoppable():
        pipeline = load(spec.name, Choices(weights=failed.weights, memory=failed.memory), tell)
        require_same_of(pipeline, shards, output)
        materials = FailureMaker(pipeline).materials(shards, rows, failing)
        found = gather(output, materials, named(STAGE, tell), process)
    whole = read_manifest(output)
    say(f"{output}: {found.clips} failures more, {len(whole)} in all", *summary(found, whole, len(materials)))
    if not len(whole):
        raise MediaError(f"not one failure could be made of {len(materials)} clips", hint="see above why")


def named(stage: str, tell: "OnProgress") -> "OnProgress":
    """The same listener for work that has a name of its own."""

    def on_progress(progress: "Progress") -> None:
        tell(replace(progress, stage=stage))

    return on_progress
