"""The input files of LongCat-Video-Avatar and InfiniteTalk: one JSON object that says who speaks, where and what."""

import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enliven.errors import RequestError
from enliven.media.container import check_file
from enliven.media.regions import Box
from enliven.media.voices import Turns

logger = logging.getLogger(__name__)

MOST_BYTES = 2**20
MOST_PEOPLE = 16
PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
PERSON = re.compile(r"person([1-9]\d*)")


@dataclass(frozen=True, slots=True)
class SpeakersFile:
    """What such a file asks for.

    Somebody without a voice (None) listens in silence. ``boxes`` are empty, or one for each voice; ``others`` are
    people without a name, who never speak. A picture, a ``video`` to go on from, or neither is given.
    """

    prompt: str
    portrait: Path | None
    video: Path | None
    voices: tuple[Path | None, ...]
    turns: Turns
    boxes: tuple[Box, ...] = ()
    others: tuple[Box, ...] = ()


def read_speakers_file(path: Path, video: Path | None = None) -> SpeakersFile:
    """Read ``path``. Boxes are not compared with the picture yet; where a ``video`` is given, that is the picture.

    Files are looked for in the folder of ``path``, then as their name is given, then by their last name beside
    ``path``. Raises MediaError when ``path`` or a file it names cannot be read, RequestError for what it says wrongly.
    """
    path = check_file(path, MOST_BYTES)
    try:
        return _parse(_load(path), path, video)
    except RequestError as error:
        raise RequestError(f"{path.name}: {error}", hint=error.hint) from None


def _parse(values: dict[str, Any], path: Path, video: Path | None) -> SpeakersFile:
    if values.get("tts_audio"):
        raise RequestError("it asks for speech made from text (tts_audio)", hint="give recordings in cond_audio")
    prompt = values.get("prompt", "")
    if not isinstance(prompt, str):
        raise RequestError(f"prompt is {_kind(prompt)}; a sentence was expected", hint="put it in double quotes")
    voices, boxes = _people(values, "cond_audio"), _people(values, "bbox")
    people = max([*voices, *boxes], default=0)
    if not any(voices.values()):
        raise RequestError("cond_audio names no recording", hint='give {"person1": "voice.wav"}')
    if people > MOST_PEOPLE:
        raise RequestError(
            f"it speaks of person{people}; {MOST_PEOPLE} people were expected at most", hint="give fewer"
        )
    picture = video or _file(values, "cond_image", path) or _file(values, "cond_video", path)
    if people > 1 and picture is None:
        raise RequestError(f"{people} people and no cond_image", hint="several people need a picture of them")
    seen = picture is not None and picture.suffix.lower() in PICTURES
    return SpeakersFile(
        prompt=prompt,
        portrait=picture if seen else None,
        video=None if seen else picture,
        voices=tuple(_found(voices.get(n), f"cond_audio.person{n}", path) for n in range(1, people + 1)),
        turns=_turns(values.get("audio_type", Turns.TOGETHER.value)),
        boxes=_boxes(boxes, people),
        others=_others(values.get("bbox") or {}),
    )


def _load(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        values = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise RequestError(f"it is not text in UTF-8: byte {error.start}", hint="save it as UTF-8") from None
    except RecursionError:
        raise RequestError("it is nested too deeply", hint="give one flat object") from None
    except json.JSONDecodeError as error:
        raise RequestError(
            f"it is no JSON: {error.msg} in line {error.lineno}, column {error.colno}", hint="mend it there"
        ) from None
    if not isinstance(values, dict):
        raise RequestError(f"it holds {_kind(values)}; an object was expected", hint='begin with {"prompt": ...')
    return values


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise RequestError(f"{twice!r} stands in it twice", hint="keep one of them")
    return values


def _no_number(name: str) -> Any:
    raise RequestError(f"{name} is no number that means anything here", hint="give a finite number")


def _people(values: dict[str, Any], key: str) -> dict[int, Any]:
    """The entries ``person1``, ``person2`` ... of an object, by number."""
    entries = values.get(key) or {}
    if not isinstance(entries, dict):
        raise RequestError(f"{key} is {_kind(entries)}; an object was expected", hint='give {"person1": ...}')
    found = {}
    for name, value in entries.items():
        match = PERSON.fullmatch(name)
        if match:
            found[int(match[1])] = value
        elif key != "bbox" or name != "others":
            raise RequestError(f"{key} names {name!r}; person1, person2 ... were expected", hint="rename it")
    return found


def _turns(value: Any) -> Turns:
    if value not in list(Turns):
        raise RequestError(
            f"audio_type is {value!r}; para or add was expected", hint="para is all at once, add one after the other"
        )
    return Turns(value)


def _boxes(boxes: dict[int, Any], people: int) -> tuple[Box, ...]:
    if not boxes:
        return ()
    missing = [number for number in range(1, people + 1) if number not in boxes]
    if missing:
        raise RequestError(f"bbox has no person{missing[0]}", hint="give a box for each person, or none at all")
    return tuple(_box(boxes[number], f"bbox.person{number}") for number in range(1, people + 1))


def _others(bbox: dict[str, Any]) -> tuple[Box, ...]:
    """People without a voice: one flat list of four numbers each, or a list of boxes."""
    others = bbox.get("others") or []
    if isinstance(others, list) and all(isinstance(other, list) for other in others):
        return tuple(_box(other, f"bbox.others[{index}]") for index, other in enumerate(others))
    if not isinstance(others, list) or len(others) % 4:
        raise RequestError(f"bbox.others is {others!r}; four numbers for each person were expected", hint="count them")
    return tuple(_box(others[start : start + 4], "bbox.others") for start in range(0, len(others), 4))


def _box(value: Any, name: str) -> Box:
    numbers = value if isinstance(value, list) else []
    if len(numbers) != 4 or not all(
        isinstance(n, int | float) and not isinstance(n, bool) and n == n // 1 for n in value
    ):
        raise RequestError(
            f"{name} is {value!r}; four whole numbers were expected", hint="give [y_min, x_min, y_max, x_max] in pixels"
        )
    return Box(*(int(number) for number in numbers))


def _file(values: dict[str, Any], key: str, path: Path) -> Path | None:
    return _found(values.get(key), key, path)


def _found(value: Any, key: str, path: Path) -> Path | None:
    """An existing file; None where nothing is named."""
    if value is None or value == "":
        return None
    if not isinstance(value, str) or "\0" in value:
        raise RequestError(f"{key} is {_kind(value)}; the name of a file was expected", hint="put it in double quotes")
    if "://" in value or value.startswith(("//", "\\\\")):
        raise RequestError(f"{key} is {value!r}, which lies on a network", hint="fetch it first and name the file")
    places = [path.parent / value, Path(value), path.parent / Path(value).name]
    for place in places:
        if place.is_file():
            if place is places[2]:
                logger.info("%s: %s is taken from beside %s", key, place.name, path.name)
            return place.resolve()
    return check_file(places[0])


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
