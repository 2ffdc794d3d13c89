"""``enliven batch``: many videos with one loading of the model."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from enliven.commands.flags import AS_USUAL, OUTPUT, Inputs, Opened, Published, Sampling, values
from enliven.errors import BatchFailed, Cancelled

if TYPE_CHECKING:
    from enliven.commands.batch_jobs import Outcome

SUMMARY = "batch.json"


def batch(  # noqa: PLR0913 - they are flags
    videos: Path,
    /,
    *,
    output: Annotated[Path | None, Parameter(alias="-o", group=OUTPUT)] = None,
    inputs: Inputs | None = None,
    sampling: Sampling | None = None,
    opened: Opened = AS_USUAL,
    as_published: Published | None = None,
    settings: Annotated[tuple[str, ...], Parameter("--set", group=OUTPUT, show_default=False)] = (),
    dry_run: Annotated[bool, Parameter(group=OUTPUT, show_default=False)] = False,
) -> None:
    """Make many videos with one loading of the model.

    The list is a .toml file of [[item]] tables, a .jsonl file, a .csv file, or a folder of run files and of LongCat's
    input files. An item says what a run file may say, and its name. Flags hold for all items and win over the list.
    What fails is told at the end and stops nothing else. The same command again makes what is missing: finished videos
    are passed over, and half made ones go on. Where processes share the work, what fails while it is made ends it.

    Args:
        videos: The list.
        output: Folder for NAME.mp4 and the run folder NAME of each item. Default: the name of the list in runs/.
        settings: NAME=VALUE for anything a run file may hold, for all items.
        dry_run: Say what would be made, and stop.

    """
    given = values(as_published, inputs, sampling, opened)
    from enliven.commands.batch_jobs import Outcome, State, make_all, prepare
    from enliven.commands.batch_list import read_list
    from enliven.commands.console import make_folder, say
    from enliven.commands.generate import RUNS
    from enliven.commands.progress import listener
    from enliven.runtime.launch import leads
    from enliven.runtime.mesh import Parallel, leave, require_processes

    shared, items, folder = Parallel.parse(opened.parallel), read_list(videos), output or RUNS / videos.resolve().stem
    require_processes(shared)
    outcomes: dict[str, Outcome] = {}
    stopped = False
    try:
        with listener() as tell:
            jobs = prepare(items, folder, (given, settings), outcomes, tell)
            if not dry_run:
                make_folder(folder)
                make_all(jobs, outcomes, tell, shared)
    except KeyboardInterrupt:
        stopped = True
    leave()
    told = [outcomes[item.name] for item in items if item.name in outcomes]
    say(*table(told))
    if not dry_run and folder.is_dir() and leads():
        write_summary(folder / SUMMARY, told)
    if stopped:
        done = sum(outcome.state in {State.MADE, State.THERE} for outcome in told)
        raise Cancelled(f"stopped with {done} of {len(items)} videos made", hint="the same command again goes on")
    failed = sum(outcome.state is State.FAILED for outcome in told)
    if failed:
        verb = "cannot be" if dry_run else "were not"
        raise BatchFailed(
            f"{failed} of {len(items)} videos {verb} made",
            hint="see above why; the same command again makes only what is missing",
        )


def write_summary(path: Path, outcomes: Sequence["Outcome"]) -> None:
    """Keep what became of each item, for programs. Raises StorageError."""
    from enliven.media.storage import replacing

    with replacing(path) as part:
        part.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1) + "\n", encoding="utf-8")


def table(outcomes: Sequence["Outcome"]) -> list[str]:
    """A line for each item, and how many came to which end."""
    from enliven.commands.progress import clock

    rows = [("name", "", "length", "took", "")]
    for each in outcomes:
        length = f"{each.length:.2f} s" if each.length else ""
        rows.append((each.name, each.state.value, length, clock(each.took) if each.took else "", each.said))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in rows
    ]
    counts = Counter(each.state.value for each in outcomes)
    return [*(line.rstrip() for line in lines), ", ".join(f"{count} {state}" for state, count in counts.items())]
