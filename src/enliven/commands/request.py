"""From flags and a run file to a checked request and the model it is for."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from enliven import config
from enliven.commands.flags import SILENCE
from enliven.errors import ConfigError
from enliven.media.provenance import maker
from enliven.media.speakers_file import read_speakers_file
from enliven.media.vocals import located
from enliven.request import GenerateRequest
from enliven.runtime.choices import Choices
from enliven.systems import MODELS, is_here

FILES = ("portrait", "video", "draft", "timeline", "input", "weights", "base")
SCENE = {"from": "start", "prompt": "prompt"}  # what a scene is called in TOML, and in a request
SHOT = {"portrait": "portrait", "cut": "cut"}  # what it may have as well
EXAMPLE = '[[scene]] tables, each with from = 12.5 and prompt = "..."'
SHOT_EXAMPLE = 'cut = true, or portrait = "shot.png", where a scene begins with a cut'

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunFile(GenerateRequest, Choices):
    """What a run file may hold: a request, the name of a model, and how that is opened."""

    model: str | None = None

    def request(self) -> GenerateRequest:
        """What is asked of the model."""
        return GenerateRequest(**{field.name: getattr(self, field.name) for field in fields(GenerateRequest)})

    def choices(self) -> Choices:
        """How the model is opened."""
        return Choices(**{field.name: getattr(self, field.name) for field in fields(Choices)})


def model_for(whole: RunFile) -> str | None:
    """The model that was named; else, of a video to go on from, the one that made it.

    None leaves it to the weights, or to the default: also where the maker is not here or goes on from no videos, which
    is told. Raises MediaError for a video that cannot be read.
    """
    if whole.model or whole.weights or whole.video is None:
        return whole.model
    name = maker(whole.video)
    if name is None or (is_here(name) and not MODELS[name].refines):
        return name
    logger.warning("%s made %s, and cannot go on with it here: name another --model", name, whole.video.name)
    return None


def gather(run_file: Path | None, flags: Mapping[str, Any], settings: Sequence[str] = ()) -> dict[str, Any]:
    """The values of a run file, changed by ``--set``, changed by flags: the later wins.

    An ``input`` file fills in what none of them says. Paths in a run file start at its own folder. Raises ConfigError,
    and what ``read_speakers_file`` raises.
    """
    return merge(placed(config.read(run_file), run_file.parent) if run_file else {}, flags, settings)


def merge(written: Mapping[str, Any], flags: Mapping[str, Any], settings: Sequence[str] = ()) -> dict[str, Any]:
    """``gather``, for values that were ``written`` anywhere, with their paths in place already."""
    chosen = config.override(written, settings)
    if "scene" in config.override({}, settings):
        chosen.pop("timeline", None)  # that of a file, which settings win over
    merged = chosen | dict(flags)
    if isinstance(chosen.get("guidance"), dict) and "guidance" in flags:
        merged["guidance"] = chosen["guidance"] | flags["guidance"]
    if isinstance(merged.get("timeline"), str | Path):
        merged["scene"] = timeline(Path(merged.pop("timeline")))
    if "scene" in merged:
        merged["timeline"] = scenes(merged.pop("scene"))
    if isinstance(merged.get("input"), str | Path):
        merged = published(Path(merged.pop("input")), merged)
    if isinstance(merged.get("audio"), list | tuple):
        merged["audio"] = [None if str(path) == SILENCE else path for path in merged["audio"]]
    if isinstance(merged.get("speakers"), list | tuple):
        merged["speakers"] = [box(place) or place for place in merged["speakers"]]
    return merged


def published(path: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The ``given`` values, and what an input file of LongCat or InfiniteTalk says about the rest.

    Where another picture is given, the boxes of the file do not count.
    """
    file = read_speakers_file(path)
    found: dict[str, Any] = {"prompt": file.prompt, "audio": file.voices, "turns": file.turns.value}
    if not given.keys() & {"portrait", "video"}:
        found |= {"portrait": file.portrait, "video": file.video, "speakers": file.boxes}
        if file.others:
            logger.warning("%d people of %s who have no voice stay in the background", len(file.others), path.name)
    return found | dict(given)


def box(place: Any) -> list[int] | None:
    """The four numbers of "top,left,bottom,right"; None for what is no text of numbers. Raises ConfigError."""
    parts = place.split(",") if isinstance(place, str) else []
    try:
        numbers = [int(part) for part in parts]
    except ValueError:
        return None
    if numbers and len(numbers) != 4:
        raise ConfigError(
            f"the speaker {place!r} has {len(numbers)} numbers; 4 were expected", hint="give top,left,bottom,right"
        )
    return numbers or None


def timeline(path: Path) -> Any:
    """What stands under ``scene`` in a timeline file. Raises ConfigError where anything else stands there."""
    found = config.read(path)
    for name in found.keys() - {"scene"}:
        raise ConfigError(f"{path} holds {name!r}", hint=f"a timeline is {EXAMPLE}; the rest goes into a run file")
    return portrayed(found.get("scene", ()), path.parent)


def portrayed(tables: Any, folder: Path) -> Any:
    """The tables of scenes, with their portraits taken from ``folder``; what is no scene stays as it is."""
    if not isinstance(tables, list):
        return tables
    return [
        table | {"portrait": str(folder / table["portrait"])}
        if isinstance(table, dict) and isinstance(table.get("portrait"), str)
        else table
        for table in tables
    ]


def scenes(tables: Any) -> list[dict[str, Any]]:
    """The scenes of a request, from the ``[[scene]]`` tables of a file. Raises ConfigError for anything else."""
    if not (tables and isinstance(tables, list) and all(isinstance(table, dict) for table in tables)):
        raise ConfigError("there is no scene in the timeline", hint=f"write {EXAMPLE}")
    for number, table in enumerate(tables, start=1):
        for name in table.keys() - SCENE.keys() - SHOT.keys():
            likely = config.closest(name, SCENE | SHOT)
            raise ConfigError(f"scene {number} has a {name!r}", hint=likely or f"write {EXAMPLE}")
        for name in SCENE.keys() - table.keys():
            raise ConfigError(f"scene {number} has no {name!r}", hint=f"write {EXAMPLE}")
        if isinstance(table["from"], bool) or not isinstance(table["from"], int | float):
            raise ConfigError(
                f"scene {number} is from {table['from']!r}, which are no seconds", hint=f"write {EXAMPLE}"
            )
        if not isinstance(table["prompt"], str):
            raise ConfigError(f"scene {number} has the prompt {table['prompt']!r}, no text", hint=f"write {EXAMPLE}")
        for name, kind in (("portrait", str), ("cut", bool)):
            if not isinstance(table.get(name, kind()), kind):
                raise ConfigError(f"scene {number} has {name} = {table[name]!r}", hint=f"write {SHOT_EXAMPLE}")
    return [{(SCENE | SHOT)[name]: value for name, value in table.items()} for table in tables]


def placed(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The same values, with the paths among them taken from ``folder``."""
    found: dict[str, Any] = {name: str(folder / values[name]) for name in FILES if isinstance(values.get(name), str)}
    if isinstance(values.get("audio"), list):
        found["audio"] = [path if path == SILENCE else str(folder / str(path)) for path in values["audio"]]
    found |= {
        name: portrayed(values[name], folder) for name in ("scene", "timeline") if isinstance(values.get(name), list)
    }
    if isinstance(values.get("vocals"), str):
        found["vocals"] = located(values["vocals"], folder)
    if isinstance(values.get("loras"), list):
        found["loras"] = [str(folder / str(lora)) for lora in values["loras"]]
    if isinstance(values.get("speakers"), list):
        masks = [isinstance(place, str) and box(place) is None for place in values["speakers"]]
        found["speakers"] = [
            str(folder / place) if mask else place for place, mask in zip(values["speakers"], masks, strict=True)
        ]
    return dict(values) | found
