"""``enliven toon``: people who are drawn, so that every movement of theirs is known."""

import json
import random
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from enliven.errors import ConfigError

if TYPE_CHECKING:
    from enliven.data.clips import ToonClip
    from enliven.toonworld.voice import Speech

SIDES = range(32, 1025)
MOST_SECONDS = 60
DIGITS = 4

Output = Annotated[Path, Parameter(alias="-o")]


def portrait(*, seed: int = 7, people: int = 1, output: Output = Path("portrait.png"), size: int = 128) -> None:
    """Draw the portrait of a character: at rest, mouth closed, looking at the viewer. Or of several, side by side.

    Args:
        seed: The same seed gives the same person; to the right of them stand those of the next seeds.
        people: How many are in the picture, 1 to 3. More make it wider.
        output: The PNG file to write.
        size: Height in pixels, and the width of a picture of one.

    """
    from enliven.commands.console import say, target
    from enliven.data.groups import SIZES, group_caption
    from enliven.media.image import to_image
    from enliven.media.storage import replacing
    from enliven.toonworld.character import sample_character
    from enliven.toonworld.draw import draw_group
    from enliven.toonworld.state import FaceState

    check_size(size)
    if people not in SIZES:
        raise ConfigError(f"--people {people}: a picture holds {min(SIZES)} to {max(SIZES)}", hint="give one of these")
    path, characters = target(output, ".png"), [sample_character(seed + index) for index in range(people)]
    height, width = SIZES[people]
    wide = round(size * width / height / 2) * 2
    pixels = draw_group([(character, FaceState.neutral(1)) for character in characters], (size, wide))[0]
    with replacing(path) as part:
        to_image((pixels * 255).round().byte()).save(part, format="PNG")
    say(f"{output}: {group_caption(characters)}")


def clip(
    *,
    seed: int = 7,
    speech: str | None = None,
    seconds: float | None = None,
    output: Output = Path("clip.mp4"),
    size: int = 128,
) -> None:
    """Draw a character saying a sentence: a video with sound, and beside it the truth as JSON.

    Args:
        seed: The same seed gives the same person, movement and, if none is named, sentence.
        speech: A shipped sentence by its name, a .flac with its .json beside it, or "silence".
        seconds: Length of the clip. Default: as long as the sentence, or 4 seconds of silence.
        output: The MP4 file to write; the truth goes to the same name with .json.
        size: Height and width in pixels.

    """
    from enliven.commands.console import say, target
    from enliven.data.clips import FPS, RATE, make_clip
    from enliven.media.mux import write_video
    from enliven.media.storage import replacing
    from enliven.types import Audio, Video

    check_size(size)
    path, spoken = target(output, ".mp4"), find_speech(speech, seed)
    if seconds is None:
        seconds = spoken.seconds if spoken else 4.0
    if not 1 / FPS <= seconds <= MOST_SECONDS:
        raise ConfigError(f"--seconds {seconds:g} is not a length", hint=f"give {1 / FPS:g} to {MOST_SECONDS}")
    drawn = make_clip(seed, spoken, frames=int(seconds * FPS), size=(size, size))
    write_video(Video(drawn.frames, FPS, Audio(drawn.samples[None], RATE)), path)
    with replacing(path.with_suffix(".json")) as part:
        part.write_text(json.dumps(truth(drawn, spoken)) + "\n", encoding="utf-8")
    said = f'Says: "{spoken.text}"' if spoken else "Says nothing."
    say(f"{output}: {drawn.caption} {said}", f"{output.with_suffix('.json')}: every movement, frame by frame")


def dataset(*, output: Output = Path("clips"), count: int = 100, seed: int = 0, frames: int = 81) -> None:
    """Draw many clips for training: frames, sound and truth, one safetensors file each.

    Some are silent; nobody says a sentence that the toon report asks for. Clips that are there already are kept, so a
    stopped run goes on where it was.

    Args:
        output: The folder to fill.
        count: How many clips it shall hold.
        seed: Seed of the first clip; the others follow.
        frames: Length of each clip in video frames.

    """
    from enliven.bench.cases import KEPT_OUT
    from enliven.commands.console import make_folder, say
    from enliven.commands.progress import listener
    from enliven.data.world import World, render_clips
    from enliven.toonworld.voice import SHIPPED

    if count < 1 or frames < 1:
        raise ConfigError(f"{count} clips of {frames} frames are none", hint="give at least 1 of both")
    with listener() as tell:
        spoken = [path for path in sorted(SHIPPED.glob("*.flac")) if path.stem not in KEPT_OUT]
        render_clips(make_folder(output), spoken, range(seed, seed + count), World(frames), tell)
    say(f"{output}: {count} clips of {frames} frames")


def judge(video: Path, /, *, portrait: Path | None = None, output: Output | None = None) -> None:
    """Score a video of a drawn character, as JSON: mouth, movement, clean drawing and, with a portrait, identity.

    Args:
        video: The video to look at.
        portrait: The picture of who it should be.
        output: A JSON file for the readings of every frame. The summary is shown in any case.

    """
    from enliven.commands.console import say, target
    from enliven.judges.toon import judge_toon
    from enliven.media.image import fit_to, read_portrait, to_pixels
    from enliven.media.storage import replacing
    from enliven.media.video import read_video

    path = target(output, ".json") if output else None
    seen = read_video(video)
    height, width = seen.frames.shape[-2:]
    person = to_pixels(fit_to(read_portrait(portrait), height, width)) if portrait else None
    verdict = judge_toon(seen, person)
    if path:
        with replacing(path) as part:
            part.write_text(json.dumps(verdict, indent=1) + "\n", encoding="utf-8")
    say(json.dumps(verdict["summary"], indent=1))


def find_speech(name: str | None, seed: int) -> "Speech | None":
    """The sentence of that name or file; one chosen by ``seed`` without a name, none for "silence"."""
    from enliven.toonworld.voice import load_speech, read_speech, shipped_speech

    if name == "silence":
        return None
    if name is None:
        return load_speech(random.Random(seed).choice(shipped_speech()))
    return read_speech(Path(name)) if Path(name).suffix else load_speech(name)


def truth(drawn: "ToonClip", spoken: "Speech | None") -> dict[str, object]:
    """What is known of a drawn clip, ready for JSON."""
    from enliven.data.clips import FPS

    state = {
        field.name: [round(value, DIGITS) for value in getattr(drawn.state, field.name).tolist()]
        for field in fields(drawn.state)
    }
    return {
        "character": drawn.character,
        "caption": drawn.caption,
        "text": spoken.text if spoken else "",
        "voice": spoken.voice if spoken else "",
        "fps": FPS,
        "state": state,
    }


def check_size(size: int) -> None:
    """Refuse a side length that cannot be drawn or encoded. Raises ConfigError."""
    if size not in SIDES or size % 2:
        expected = f"an even number from {SIDES.start} to {SIDES.stop - 1} was expected"
        raise ConfigError(f"--size {size}: {expected}", hint="128 is what the small models draw")
