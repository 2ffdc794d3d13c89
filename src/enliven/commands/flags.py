"""The flags of ``enliven generate`` and the run-file values they stand for."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from enliven.errors import ConfigError
from enliven.runtime.choices import DtypeChoice, QuantiseChoice
from enliven.runtime.memory import Memory

if TYPE_CHECKING:
    from enliven.request import Scene

INPUTS = Group("Inputs", sort_key=1)
SAMPLING = Group("Sampling", sort_key=2)
MODEL = Group("Model and machine", sort_key=3)
OUTPUT = Group("Output", sort_key=4)

GUIDANCE = {"text_guidance": "text", "audio_guidance": "audio"}
SPELLED = {"video": "--continue", "draft": "--refine", "loras": "--lora"}
SILENCE = "silence"  # in place of the sound file of somebody who only listens


@Parameter(name="*", group=INPUTS)
@dataclass(frozen=True)
class Inputs:
    """What the video is made from."""

    portrait: Path | None = None
    """Picture of the person. Without one, the model invents a person."""
    audio: tuple[Path, ...] | None = None
    """Speech: any sound or video file; once for each of several people, `silence` for one who only listens."""
    speakers: tuple[str, ...] | None = None
    """Where a person is in the picture: "top,left,bottom,right" in its pixels, or a mask picture that is white there;
    once for each voice, in their order. Default: where faces are found, else equal shares from left to right."""
    turns: Literal["para", "add"] | None = None
    """How several voices follow each other: para, all from the start (the default); add, one after the other."""
    vocals: str | None = None
    """Listen to the voice alone where there is music or noise: `centre`, what both channels share, or weights of
    Demucs, a file or folder. The sound of the video stays whole. Default: listen to everything."""
    prompt: str | None = None
    """What is seen: who speaks, where, in what light and mood."""
    timeline: Path | None = None
    """TOML file of [[scene]] tables, each with from = SECONDS and prompt = "...", that take the prompt's place. With
    cut = true, or a portrait = "FILE" of its own, a scene begins with a cut."""
    negative_prompt: str | None = None
    """What guidance should lead away from. Nothing changes where a model is not guided, as students are not."""
    video: Annotated[Path | None, Parameter(name=SPELLED["video"])] = None
    """A video to go on from, instead of starting afresh."""
    draft: Annotated[Path | None, Parameter(name=SPELLED["draft"])] = None
    """A video to make anew, larger and smoother, by a model that refines; see `enliven refine`."""
    input: Path | None = None
    """JSON file of LongCat-Video-Avatar or InfiniteTalk: prompt, picture, voices and boxes. All other flags win."""


@Parameter(name="*", group=SAMPLING)
@dataclass(frozen=True)
class Sampling:
    """How the video is made. What is left out, the model decides."""

    seconds: float | None = None
    """Length of the video. Default: as long as the speech."""
    size: str | None = None
    """WIDTHxHEIGHT in pixels, for example 128x128."""
    steps: int | None = None
    """Denoising steps for each clip."""
    text_guidance: float | None = None
    """How strongly the prompt guides."""
    audio_guidance: float | None = None
    """How strongly the speech guides."""
    reference_index: int | None = None
    """Where on the time line the reference stands, in latent frames."""
    skip_radius: int | None = None
    """How many latent frames around the reference do not see it."""
    decoder: str | None = None
    """Which decoder makes the pictures, where a model has several: full, or efficient."""
    seed: int | None = None
    """The same seed and inputs give the same video."""


@Parameter(name="*", group=MODEL)
@dataclass(frozen=True)
class Running:
    """What a model may take here, and who shares the work. A run may be resumed in any of it."""

    memory: Memory | None = None
    """What the model may take: auto, the fastest way that fits; low, the least; full, all of it on the device; or a
    number of GiB. `--dry-run` of `enliven generate` shows the plan."""
    parallel: str | None = None
    """Share the work among processes that `torchrun --nproc-per-node 4 -m enliven ...` starts, each with a GPU:
    context=2,guidance=2 lets 2 share the tokens of a pass and 2 the passes, of which a student has one; with ,sharded
    all share the weights."""


@Parameter(name="*", group=MODEL)
@dataclass(frozen=True)
class Opened(Running):
    """Which model, and how it is opened (``Choices``)."""

    model: str | None = None
    """Name of a model; `enliven models` lists them. Default: what the weights are for, what made the video
    to go on from, or longcat-toon-4step."""
    weights: Path | None = None
    """Folder of weights, as published or saved here. Default: looked for where ENLIVEN_WEIGHTS says."""
    base: Path | None = None
    """Folder of LongCat-Video, where it is not beside that of a published avatar."""
    loras: Annotated[tuple[str, ...] | None, Parameter(name=SPELLED["loras"])] = None
    """LoRA beside the network: FILE or FILE:STRENGTH; repeat for several, which add up."""
    expressiveness: float | None = None
    """Strength of the LoRA that lets LongCat-Video-Avatar 1.5 talk in few steps: 1 as trained, more for livelier."""
    dtype: DtypeChoice | None = None
    """Numbers that the network computes in. Default: auto, as the weights were published."""
    quantise: QuantiseChoice | None = None
    """Weights of 8 bits, half the memory of bfloat16: never (none), always (int8, which keeps more of most weights, or
    fp8), or int8 where it must be (auto)."""
    attention: str | None = None
    """Kernel that computes attention; `enliven doctor` lists them, and why one cannot be had. Default: auto."""


@Parameter(name="*", group=OUTPUT)
@dataclass(frozen=True)
class Made:
    """What comes of it."""

    output: Annotated[Path | None, Parameter(alias="-o")] = None
    """The MP4 file to write. Default: video.mp4 in the run folder."""
    run: Path | None = None
    """Folder that keeps everything about the run. Default: a new one in runs/."""
    dry_run: Annotated[bool, Parameter(show_default=False)] = False
    """Show what would be made, how long it would take and how much memory, and stop."""
    show_speakers: Path | None = None
    """PNG file to draw into who speaks where, and stop before anything is made."""


NOTHING_MADE, AS_USUAL, ALONE = Made(), Opened(), Running()
PUBLISHED = Parameter(show=False)


@Parameter(name="*", group=SAMPLING)
@dataclass(frozen=True)
class Published:
    """Flags of the scripts of LongCat-Video-Avatar and InfiniteTalk that have another name here."""

    input: Annotated[Path | None, PUBLISHED, Parameter(name="--input_json")] = None
    steps: Annotated[int | None, PUBLISHED, Parameter(name=("--num_inference_steps", "--sample_steps"))] = None
    text_guidance: Annotated[
        float | None, PUBLISHED, Parameter(name=("--text_guidance_scale", "--sample_text_guide_scale"))
    ] = None
    audio_guidance: Annotated[
        float | None, PUBLISHED, Parameter(name=("--audio_guidance_scale", "--sample_audio_guide_scale"))
    ] = None
    reference_index: Annotated[int | None, PUBLISHED, Parameter(name="--ref_img_index")] = None
    skip_radius: Annotated[int | None, PUBLISHED, Parameter(name="--mask_frame_range")] = None
    seed: Annotated[int | None, PUBLISHED, Parameter(name="--base_seed")] = None


def values(*groups: Inputs | Sampling | Opened | Published | None) -> dict[str, Any]:
    """The run-file values of the flags that were given; of the same one given twice, that of the later group.

    Who shares the work is in no run file.
    """
    given = {name: value for group in groups if group for name, value in vars(group).items() if value is not None}
    given.pop("parallel", None)
    guidance = {inner: given.pop(flag) for flag, inner in GUIDANCE.items() if flag in given}
    if guidance:
        given["guidance"] = guidance
    if "size" in given:
        given["width"], given["height"] = pixels(given.pop("size"))
    return given


def arguments(given: Mapping[str, Any]) -> list[str]:
    """The command-line arguments that stand for the values of a request: the inverse of ``values``."""
    left = dict(given)
    timeline = left.pop("timeline", ())
    left["audio"] = [path or SILENCE for path in left.get("audio", ())]
    left["speakers"] = [
        place if isinstance(place, str | Path) else spelled(place) for place in left.get("speakers", ())
    ]
    guidance = left.pop("guidance", None) or {}
    left |= {flag: guidance[inner] for flag, inner in GUIDANCE.items() if inner in guidance}
    if "width" in left and "height" in left:
        left["size"] = f"{left.pop('width')}x{left.pop('height')}"
    known = {field.name for group in (Inputs, Sampling, Opened) for field in fields(group)}
    spoken = ["--set", f"scene=[{', '.join(scene_table(scene) for scene in timeline)}]"] if timeline else []
    for name, value in left.items():
        flag = SPELLED.get(name, f"--{name.replace('_', '-')}")
        for each in value if isinstance(value, list | tuple) else [value]:
            spoken += [flag, str(each)] if name in known else ["--set", f"{name}={json.dumps(each)}"]
    return spoken


def spelled(box: Iterable[int]) -> str:
    """A box as a flag has it."""
    return ",".join(map(str, box))


def scene_table(scene: "Scene") -> str:
    """A scene as an inline table of TOML, whose strings read like those of JSON."""
    shot = f", portrait = {json.dumps(str(scene.portrait), ensure_ascii=False)}" if scene.portrait else ""
    shot += ", cut = true" * scene.cut
    return f"{{from = {scene.start}, prompt = {json.dumps(scene.prompt, ensure_ascii=False)}{shot}}}"


def pixels(size: str) -> tuple[int, int]:
    """Width and height of a ``WIDTHxHEIGHT``.

    Raises:
        ConfigError: when ``size`` is not two positive numbers.

    """
    width, cross, height = size.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise ConfigError(f"--size {size!r} is not WIDTHxHEIGHT", hint="for example: --size 128x128")
    return int(width), int(height)
