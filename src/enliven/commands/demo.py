"""``enliven demo``: a first video from nothing but what is in the package."""

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def demo(
    *,
    output: Annotated[Path, Parameter(alias="-o")] = Path("demo"),
    speech: str = "hello",
    seed: int = 31,
    model: str = "longcat-toon",
) -> None:
    """Draw a character, take a shipped sentence, and let the small model make the video.

    Args:
        output: The folder to write to.
        speech: The name of a shipped sentence.
        seed: Another seed, another person.
        model: The name of the model.

    """
    from enliven.commands import toon
    from enliven.commands.console import make_folder, say, target
    from enliven.commands.generate import free_folder, load, resumable, summary
    from enliven.commands.progress import listener
    from enliven.media.sheet import video_sheet
    from enliven.media.storage import replacing
    from enliven.media.video import read_video
    from enliven.request import GenerateRequest
    from enliven.run import start
    from enliven.runtime.choices import AS_IT_IS
    from enliven.toonworld.character import caption, sample_character
    from enliven.toonworld.voice import SHIPPED, load_speech

    spoken, folder = load_speech(speech), make_folder(output)
    portrait, sheet = folder / "portrait.png", folder / f"{speech}.png"
    toon.portrait(seed=seed, output=portrait)
    request = GenerateRequest(
        audio=(SHIPPED / f"{speech}.flac",), portrait=portrait, prompt=caption(sample_character(seed)), seed=seed
    )
    run, began = free_folder(folder / "run"), time.perf_counter()
    with listener() as tell, resumable(run):
        video = start(load(model, AS_IT_IS, tell), request, run, target(folder / f"{speech}.mp4", ".mp4"), tell)
    took = time.perf_counter() - began
    with replacing(sheet) as part:
        video_sheet(read_video(video), title=spoken.text).save(part, format="PNG")
    say(
        f'{spoken.voice} says: "{spoken.text}"',
        *summary(video, run, took),
        f"sheet   {sheet}: the whole video at a glance",
    )
