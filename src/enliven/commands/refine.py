"""``enliven refine``: ``enliven generate`` by the model that makes a finished video anew."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from enliven.commands.flags import NOTHING_MADE, OUTPUT, Inputs, Made, Sampling
from enliven.commands.generate import generate


def refine(
    video: Path,
    /,
    *,
    prompt: str = "",
    sampling: Sampling | None = None,
    made: Made = NOTHING_MADE,
    parallel: Annotated[str | None, Parameter(group=OUTPUT)] = None,
) -> None:
    """Make a finished video anew in 720p, with 30 frames a second and the sound it has.

    Args:
        video: The video, best one of LongCat-Video.
        prompt: What is seen in it: what it was made with.
        parallel: Share the work among processes, as of `enliven generate`.

    """
    from enliven.systems.longcat_video import LONGCAT_VIDEO_720P

    asked = sampling or Sampling()
    chosen = replace(asked, model=asked.model or LONGCAT_VIDEO_720P.name)
    generate(inputs=Inputs(draft=video, prompt=prompt), sampling=chosen, made=made, parallel=parallel)
