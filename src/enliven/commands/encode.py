"""``enliven encode``: video files, or the drawn world, become shards of encoded clips to train on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from enliven.commands.flags import pixels
from enliven.errors import Cancelled, ConfigError, MediaError

if TYPE_CHECKING:
    from enliven.data.encoded import EncodedClip
    from enliven.data.films import Film, FilmEncoder
    from enliven.data.gathering import Gathered, Material
    from enliven.data.manifest import Manifest
    from enliven.data.order import Process
    from enliven.systems.spec import ModelSpec

SHOWN = 5  # bad files; all of them are in the log


@Parameter(name="*")
@dataclass(frozen=True)
class Drawn:
    """Clips of the drawn world."""

    toon: int = 0
    """How many clips to draw, beside those of videos."""
    seed: int = 0
    """Seed of the first drawn clip; the others follow."""
    sights: float = 0.0
    """Share of drawn clips without people, from 0 to 1."""


@Parameter(name="*")
@dataclass(frozen=True)
class Encoding:
    """How clips are cut and encoded."""

    model: str | None = None
    """Name of the model whose encoders are used. Default: what the weights are for, or longcat-toon-4step,
    whose encoders are those of longcat-toon."""
    weights: Path | None = None
    """Folder of weights, as published or saved here. Default: looked for where ENLIVEN_WEIGHTS says."""
    frames: tuple[int, ...] = ()
    """Length of a clip in video frames, 4k + 1; repeat it, and the end of a video is cut to shorter ones. Default:
    half as long again as a clip of the model."""
    size: str | None = None
    """WIDTHxHEIGHT in pixels. Default: of the sizes of the model the one nearest in aspect to each video."""
    fps: int | None = None
    """Video frames a second. Default: as many as the model makes. Each rate needs a folder of its own."""
    sound: Literal["own", "silence", "null"] = "own"
    """What is heard: the own sound of each video, encoded silence, or null audio. Where a video has no sound, own is
    silence for LongCat and null audio for Soul, as they were taught."""
    vocals: str | None = None
    """Listen to the voice alone, as of `enliven generate`."""


NOTHING_DRAWN, AS_THE_MODEL = Drawn(), Encoding()


def encode(
    *sources: Path,
    output: Annotated[Path, Parameter(alias="-o")],
    drawn: Drawn = NOTHING_DRAWN,
    encoding: Encoding = AS_THE_MODEL,
    part: str = "0/1",
) -> None:
    """Encode video files, or clips of the drawn world, into shards to train on.

    A folder is searched for videos; the caption of a.mp4 is in a.txt. A .csv or .jsonl list has path and caption.
    Where a.speakers.json lies beside a.mp4, as of `enliven generate --input`, it says who speaks in which recording
    and where each of them is. Bad files are told and left out. The same command again goes on where it was.

    Args:
        sources: Videos, folders of them, or lists.
        output: Folder for the shards: tar files of clips, and beside each a Parquet file that says what is in it.
        part: Which part of the work this process does, from 0, and of how many: 3/8.

    """
    from enliven.commands.console import make_folder, say
    from enliven.commands.generate import find
    from enliven.commands.progress import listener
    from enliven.data.films import find_films
    from enliven.data.gathering import gather
    from enliven.data.manifest import read_manifest
    from enliven.runtime.choices import Choices
    from enliven.train.made_by import ENCODERS, MADE_BY, require_same
    from enliven.types import Progress

    process, films = process_of(part), [film for source in sources for film in find_films(source)]
    if not films and drawn.toon < 1:
        raise ConfigError("there is nothing to encode", hint="name videos, or --toon 1000 to draw clips")
    with listener() as tell, stoppable():
        opening = find(encoding.model, Choices(weights=encoding.weights))
        if opening.spec.params.audio is None:
            raise ConfigError(
                f"{opening.spec.name} hears nothing; what learns is an avatar", hint="name one as --model"
            )
        networks = []
        for number, name in enumerate(ENCODERS, start=1):
            networks.append(opening.execution.load(name, opening.parts[name]))
            tell(Progress("loading encoders", number, len(ENCODERS)))
        encoder = film_encoder(opening.spec, networks, opening.execution.device, encoding)
        materials = [
            *(film_material(film, encoder) for film in films),
            *drawn_materials(drawn, encoder),
        ]
        require_same(make_folder(output) / MADE_BY, opening.spec, networks, encoder.fps)
        found = gather(output, materials, tell, process)
    whole = read_manifest(output)
    say(f"{output}: {found.clips} clips more, {len(whole)} in all", *summary(found, whole, len(materials)))
    if not len(whole):
        raise MediaError(f"not one clip could be made of {len(materials)} sources", hint="see above why")


def summary(found: "Gathered", whole: "Manifest", count: int) -> list[str]:
    """What became of ``count`` materials, and what there is now."""
    return [
        f"shapes  {len(set(whole.groups('latents', 'height', 'width').tolist()))} of latents",
        *([f"before  {found.before} of {count} were done already"] if found.before else []),
        *([f"changed {len(found.changed)} of those since; a new folder would have them anew"] if found.changed else []),
        *([f"bad     {len(found.faults)} were left out, wholly or from where they fail:"] if found.faults else []),
        *(f"  {name}: {fault}" for name, fault in list(found.faults.items())[:SHOWN]),
        *([f"  and {len(found.faults) - SHOWN} more"] if len(found.faults) > SHOWN else []),
    ]


@contextmanager
def stoppable() -> Iterator[None]:
    """Whoever stops the work is told how to go on. Raises Cancelled."""
    try:
        yield
    except KeyboardInterrupt:
        raise Cancelled("stopped", hint="the same command again goes on where it was") from None


def film_encoder(spec: "ModelSpec", networks: Sequence[Any], device: str, encoding: Encoding) -> "FilmEncoder":
    """What encodes clips for a model.

    Raises ConfigError for lengths, sizes and frame rates that it cannot take; WeightsError, MissingExtra where the
    voice cannot be parted: all of a thousand films would be listened to instead.
    """
    from enliven.data.films import FilmEncoder, Soundtrack
    from enliven.media.vocals import find_separator

    separator = find_separator(encoding.vocals) if encoding.vocals else None
    autoencoder, ears = networks
    fps = spec.geometry.fps if encoding.fps is None else encoding.fps
    hearing = hearing_at(fps, ears, spec)
    stride = autoencoder.temporal_factor
    lengths = encoding.frames or (stride * round(1.5 * (spec.geometry.frames // stride)) + 1,)
    for length in lengths:
        if length < 1 or length % stride != 1:
            raise ConfigError(f"--frames {length} is not {stride}k + 1", hint=f"give {length - (length - 1) % stride}")
    choose = spec.choose_size or (lambda *_: spec.size)
    if encoding.size:
        width, height = pixels(encoding.size)
        if height % spec.side_step or width % spec.side_step:
            raise ConfigError(f"--size {encoding.size} is no multiple of {spec.side_step}", hint="make both sides one")
        choose = partial(_always, (height, width))
    sound = Soundtrack(encoding.sound, spec.soundless, separator)
    return FilmEncoder(
        autoencoder, hearing, fps, tuple(lengths), choose, device, sound, spec.voices, token=spec.side_step
    )


def hearing_at(fps: int, ears: Any, spec: "ModelSpec") -> Any:
    """The audio encoder of a model for another frame rate, with a whole number of features for a video frame.

    They come as close together as that allows to where the model has them, so that its window hears about as long
    (LongCat-Video-Avatar, 3.1): from 32 a second, 32 at 16 frames a second and 25 at 25. Raises ConfigError.
    """
    from enliven.media.video import FRAME_RATES
    from enliven.models.networks import at_rate

    lowest, highest = FRAME_RATES
    if not lowest <= fps <= highest:
        raise ConfigError(f"--fps {fps} is no frame rate", hint=f"give {lowest:g} to {highest:g}")
    rate = float(fps * max(1, round(ears.rate / fps)))
    try:
        return ears if rate == ears.rate else at_rate(ears, rate)
    except ConfigError as error:
        raise ConfigError(
            f"--fps {fps} does not fit {spec.name}: {error}",
            hint=f"give one that {ears.rate:g} is a multiple of, such as {spec.geometry.fps}",
        ) from error


def film_material(film: "Film", encoder: "FilmEncoder") -> "Material":
    """A video as material."""
    from enliven.data.gathering import Material

    return Material(str(film.path.resolve()), partial(encoder.clips, film), film.digest)


def drawn_materials(drawn: Drawn, encoder: "FilmEncoder") -> "Iterator[Material]":
    """Clips of the drawn world as material, one for each seed; nobody says what the toon report asks for.

    Raises ConfigError for a share that is none.
    """
    from enliven.bench.cases import KEPT_OUT
    from enliven.data.clips import FPS
    from enliven.data.encoded import encode_clip
    from enliven.data.gathering import Material
    from enliven.data.world import World
    from enliven.toonworld.voice import SHIPPED

    if not 0 <= drawn.sights <= 1:
        raise ConfigError(f"--sights {drawn.sights:g} is no share", hint="give 0 to 1")
    if drawn.toon and encoder.fps != FPS:
        raise ConfigError(
            f"the drawn world has {FPS} frames a second, not {encoder.fps}",
            hint=f"leave out --toon, or give --fps {FPS}",
        )
    world = World(max(encoder.lengths), encoder.size(1, 1), sights=drawn.sights)
    spoken = [path for path in sorted(SHIPPED.glob("*.flac")) if path.stem not in KEPT_OUT]

    def make(seed: int, made: frozenset[int]) -> "Iterator[tuple[int, EncodedClip]]":
        if not made:
            clip = encoder.sound.of_drawn(world.clip(seed, spoken))
            yield 0, encode_clip(clip, encoder.autoencoder, encoder.hearing, seed=seed)

    for seed in range(drawn.seed, drawn.seed + drawn.toon):
        yield Material(f"toon {seed}", partial(make, seed))


def process_of(part: str) -> "Process":
    """The process that "3/8" is the part of. Raises ConfigError."""
    from enliven.data.order import Process

    rank, slash, count = part.partition("/")
    if not (slash and rank.isdecimal() and count.isdecimal() and int(rank) < int(count)):
        raise ConfigError(f"--part {part!r} is no part of a whole", hint="for example: --part 0/4, up to 3/4")
    return Process(int(rank), int(count))


def _always(size: tuple[int, int], *_: int) -> tuple[int, int]:
    return size
