"""Clips that Soul makes anew of encoded ones, for an efficient decoder to learn from what a backbone gives.

    python -m enliven.train.generated shards/people -o shards/generated --weights runs/soul-full/soul --count 2000

Each is told and hears what its clip does, is guided as in use, and begins with a random picture of it; half of them go
on from its first latents. The same command again goes on where it was.
"""

import argparse
import logging
import random
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from enliven.data.encoded import EncodedClip
from enliven.data.gathering import Gathered, Material, gather
from enliven.data.manifest import Row
from enliven.data.shards import ShardReader
from enliven.errors import ConfigError, EnlivenError
from enliven.pipeline import AvatarPipeline
from enliven.runtime.choices import Choices
from enliven.systems import choose_model
from enliven.train.failures import Attempt, FailureMaker, beginning, choose_rows, one_clip
from enliven.train.made_by import require_same_of


def remade(maker: FailureMaker, clip: EncodedClip, name: str) -> EncodedClip:
    """A clip as the model makes it, always the same of the same ``name``. Raises NotFinite."""
    chance = random.Random(name)
    attempt = Attempt(
        caption=clip.caption,
        pivot=chance.randrange(len(clip.references)),
        continuing=chance.random() < 0.5,
        deaf=False,
        seed=chance.getrandbits(32),
        scale=getattr(maker.spec.guidance, "text", 1.0),
    )
    return maker.remake(clip, attempt, maker.spec.guidance, maker.spec.negative_prompt)


def materials(maker: FailureMaker, folder: Path, rows: Sequence[Row]) -> list[Material]:
    """Each of the ``rows`` in a ``folder`` of shards made anew, ready to be gathered."""
    reader, length = ShardReader(folder), len(one_clip(maker.spec, continuing=False).layout)

    def make(row: Row, name: str, made: frozenset[int]) -> Iterator[tuple[int, EncodedClip]]:
        if not made:
            yield 0, remade(maker, beginning(reader.read(row), length), name)

    names = [f"{row.source} {row.start} made anew by {maker.spec.name}" for row in rows]
    return [Material(name, partial(make, row, name)) for row, name in zip(rows, names, strict=True)]


def make_anew(
    shards: Path, folder: Path, model: str | None = None, weights: Path | None = None, count: int | None = None
) -> Gathered:
    """Fill a ``folder`` with shards of clips made anew, of all clips in ``shards`` or of ``count``.

    Raises as ``choose_rows``, ``AvatarPipeline.load`` and ``gather``.
    """
    if folder.resolve() == shards.resolve():
        raise ConfigError(f"{folder} holds the clips that others are made of", hint="name another folder")
    spec = choose_model(model, weights)
    rows = choose_rows(shards, spec, count=count)
    maker = FailureMaker(AvatarPipeline.load(spec.name, Choices(weights=weights)))
    require_same_of(maker.pipeline, shards, folder)
    return gather(folder, materials(maker, shards, rows))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", type=Path, help="clips that enliven encode has made for this model")
    parser.add_argument("-o", "--output", type=Path, required=True, help="another folder, for shards of new clips")
    parser.add_argument("--model", help="what makes them; by default what the weights are for")
    parser.add_argument("--weights", type=Path, help="its folder; by default looked for where ENLIVEN_WEIGHTS says")
    parser.add_argument("--count", type=int, help="of how many clips; by default of all")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        found = make_anew(asked.shards, asked.output, asked.model, asked.weights, asked.count)
    except EnlivenError as error:
        parser.exit(error.exit_code, f"{error}\n{error.hint}\n")
    sys.stdout.write(f"{asked.output}: {found.clips} clips more, {len(found.faults)} could not be made\n")


if __name__ == "__main__":
    main()
