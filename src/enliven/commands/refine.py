"""``enliven refine``: ``enliven generate`` by the model that makes a finished video anew."""

from dataclasses import replace
from pathlib import Path

from enliven.commands.flags import AS_USUAL, NOTHING_MADE, Inputs, Made, Opened, Sampling
from enliven.commands.generate import generate


def refine(
    video: Path,
    /,
    *,
    prompt: str = "",
    sampling: Sampling | None = None,
    opened: Opened = AS_USUAL,
    made: Made = NOTHING_MADE,
) -> None:
    """Make a finished video anew in 720p, with 30 frames a second and the sound it has.

    Args:
        video: The video, best one of LongCat-Video.
        prompt: What is seen in it: what it was made with.

    """
    from enliven.systems.longcat_video import LONGCAT_VIDEO_720P

    chosen = replace(opened, model=opened.model or LONGCAT_VIDEO_720P.name)
    generate(inputs=Inputs(draft=video, prompt=prompt), sampling=sampling, opened=chosen, made=made)
