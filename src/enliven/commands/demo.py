"""``enliven demo``: a first video from nothing but what is in the package."""

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from enliven.commands.flags import AS_USUAL, Opened, values


def demo(
    *,
    output: Annotated[Path, Parameter(alias="-o")] = Path("demo"),
    speech: str = "hello",
    seed: int = 31,
    opened: Opened = AS_USUAL,
) -> None:
    """Draw a character, take a shipped sentence, and let the small model make the video.

    Args:
        output: The folder to write to.
        speech: The name of a shipped sentence.
        seed: Another seed, another person.

    """
    from enliven import config
    from enliven.commands import toon
    from enliven.commands.console import make_folder, say, target
    from enliven.commands.generate import free_folder, load, resumable, summary
    from enliven.commands.progress import listener
    from enliven.media.sheet import video_sheet
    from enliven.media.storage import replacing
    from enliven.media.video import read_video
    from enliven.request import GenerateRequest
    from enliven.run import start
    from enliven.runtime.choices import Choices
    from enliven.runtime.launch import leads
    from enliven.runtime.mesh import Parallel, leave
    from enliven.toonworld.character import caption, sample_character
    from enliven.toonworld.voice import SHIPPED, load_speech

    shared, spoken, folder = Parallel.parse(opened.parallel), load_speech(speech), make_folder(output)
    chosen = values(opened)
    model, choices = chosen.pop("model", None), config.parse(Choices, chosen)
    portrait, sheet = folder / "portrait.png", folder / f"{speech}.png"
    toon.portrait(seed=seed, output=portrait)
    request = GenerateRequest(
        audio=(SHIPPED / f"{speech}.flac",), portrait=portrait, prompt=caption(sample_character(seed)), seed=seed
    )
    run, began = free_folder(folder / "run"), time.perf_counter()
    with listener() as tell, resumable(run):
        pipeline = load(model, choices, tell, shared)
        video = start(pipeline, request, run, target(folder / f"{speech}.mp4", ".mp4"), tell)
    took = time.perf_counter() - began
    leave()
    if not leads():
        return
    with replacing(sheet) as part:
        video_sheet(read_video(video), title=spoken.text).save(part, format="PNG")
    say(
        f'{spoken.voice} says: "{spoken.text}"',
        *summary(video, run, took),
        f"sheet   {sheet}: the whole video at a glance",
    )
