"""What is published of LongCat: where, in which folders, and what of it makes a model."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from enliven.errors import ConfigError, WeightsError

FILES = ("*.safetensors", "*.json", "*.txt", "*.model")  # what is fetched of a folder: no pickles
IGNORED = ("*fp32*",)  # the same weights once more, in another type
SHARED = ("vae", "text_encoder", "tokenizer", "scheduler")  # what an avatar takes from the base


@dataclass(frozen=True, slots=True)
class Release:
    """One publication: its folder, the folders of its backbones by variant, and that of its audio encoder.

    ``rate`` is how many audio features it hears in a second. ``own_schedule`` is false where the base has it. The
    ``note`` says what to know before fetching.
    """

    name: str
    repository: str
    backbones: Mapping[str, str]
    hearing: str | None = None
    rate: float = 0.0
    own_schedule: bool = True
    note: str = ""


BASE = Release("LongCat-Video", "meituan-longcat/LongCat-Video", {"base": "dit"})
AVATAR_1_0 = Release(
    "LongCat-Video-Avatar",
    "meituan-longcat/LongCat-Video-Avatar",
    {"single": "avatar_single", "multi": "avatar_multi"},
    "chinese-wav2vec2-base",
    32.0,
    own_schedule=False,
    note="chinese-wav2vec2-base is published as a pickle, pytorch_model.bin: fetch it, then enliven models convert",
)
AVATAR_1_5 = Release(
    "LongCat-Video-Avatar-1.5",
    "meituan-longcat/LongCat-Video-Avatar-1.5",
    {"bf16": "base_model", "int8": "base_model_int8"},
    "whisper-large-v3",
    25.0,
)
RELEASES = {release.name: release for release in (AVATAR_1_5, AVATAR_1_0, BASE)}


@dataclass(frozen=True, slots=True)
class Fetch:
    """What to fetch of a repository, as patterns of file names, and the folder it goes to."""

    repository: str
    patterns: tuple[str, ...]
    name: str


def find_release(name: str) -> Release:
    """The publication of that name, in whatever case. Raises ConfigError."""
    found = next((release for known, release in RELEASES.items() if known.lower() == name.lower()), None)
    if found is None:
        raise ConfigError(f"nothing called {name!r} is published", hint=f"choose from {', '.join(RELEASES)}")
    return found


def recognise(folder: Path) -> Release | None:
    """Which publication a folder holds, whatever its name; None for any other folder."""
    there = (release for release in RELEASES.values() if variants_in(release, folder))
    return next(there, None)


def variants_in(release: Release, folder: Path) -> list[str]:
    """The variants that are there."""
    return [variant for variant, name in release.backbones.items() if (folder / name).is_dir()]


def choose_variant(release: Release, folder: Path, variant: str | None) -> str:
    """The variant that is there, the first one unless another is named. Raises ConfigError, WeightsError."""
    there = variants_in(release, folder)
    wanted = _known(release, variant or there[0])
    if wanted not in there:
        raise WeightsError(
            f"the variant {wanted} of {release.name} is not in {folder}: no folder {release.backbones[wanted]}",
            hint=f"here is {', '.join(there)}; enliven models download {release.name} --variant {wanted} fetches it",
        )
    return wanted


def find_base(folder: Path, base: Path | None) -> Path:
    """The folder of the base: as named, the avatar's own, or beside it. Raises WeightsError."""
    places = [base] if base is not None else [folder, folder.resolve().parent / BASE.name]
    for place in places:
        if (place / "vae").is_dir() and (place / "text_encoder").is_dir():
            return place
    what = f"the autoencoder and the text encoder of {BASE.name} are not in {places[-1]}"
    if base is not None:
        raise WeightsError(what, hint="name the folder that holds vae, text_encoder and tokenizer")
    raise WeightsError(
        what, hint=f"put {BASE.name} beside {folder.name}, or say --base FOLDER; enliven models download fetches both"
    )


def fetches(release: Release, variant: str | None = None) -> list[Fetch]:
    """What to fetch for one variant, the first one unless another is named: of an avatar, and its part of the base.

    Raises ConfigError for a variant that there is not.
    """
    backbone = release.backbones[_known(release, variant or next(iter(release.backbones)))]
    folders = [backbone, *([release.hearing] if release.hearing else []), "lora"]
    if release is BASE:
        return [_fetch(release, (*folders, *SHARED))]
    return [_fetch(release, (*folders, *(["scheduler"] if release.own_schedule else []))), _fetch(BASE, SHARED)]


def _known(release: Release, variant: str) -> str:
    if variant not in release.backbones:
        known = ", ".join(release.backbones)
        raise ConfigError(f"{release.name} has no variant {variant!r}", hint=f"choose from {known}")
    return variant


def _fetch(release: Release, folders: tuple[str, ...]) -> Fetch:
    patterns = tuple(f"{folder}/{pattern}" for folder in folders for pattern in FILES)
    return Fetch(release.repository, patterns, release.name)
