"""Captions, encoded once and kept on disk: training then needs no text encoder, which may be large."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import pad

from enliven.data.order import ALONE, Process
from enliven.errors import ConfigError
from enliven.media.storage import replacing
from enliven.models.networks import params_of
from enliven.models.published import Part
from enliven.types import OnProgress, Progress, Text, ignore_progress

STAGE = "encoding captions"
AT_ONCE = 8  # captions
PACKED = 256  # captions in a file
NAME = "texts_{rank:03}_{number:05}.safetensors"


class TextStore:
    """Encoded captions of a folder, as ``length`` tokens each; what the mask leaves out is zero.

    A text encoder puts something there, too, but no backbone looks at it.
    """

    def __init__(self, folder: Path, length: int) -> None:
        self.folder, self.length = folder, length
        self.places = _places(folder)

    def __call__(self, captions: Sequence[str]) -> Text:
        """The texts of captions. Raises ConfigError for one that was not encoded."""
        rows = [self._read(caption) for caption in captions]
        tokens = torch.stack([pad(row, (0, 0, 0, self.length - len(row))) for row in rows])
        return Text(tokens, torch.arange(self.length) < torch.tensor([[len(row)] for row in rows]))

    def _read(self, caption: str) -> Float[Tensor, "l c"]:
        key = _key(caption)
        if key not in self.places:
            raise ConfigError(f"the caption {caption!r} is not in {self.folder}", hint="run the stage texts again")
        with safe_open(self.places[key], "pt") as file:
            return file.get_tensor(key).float()


def encode_texts(
    captions: Iterable[str],
    load: Callable[[], Callable[[Sequence[str]], Text]],
    folder: Path,
    on_progress: OnProgress = ignore_progress,
    process: Process = ALONE,
) -> int:
    """Encode captions, and the empty one, that are not in ``folder`` yet; returns how many.

    The encoder is only loaded where there is something to do. Of several processes each encodes its share. Raises
    StorageError when the disk refuses.
    """
    known = _places(folder)
    own = sorted({"", *captions})[process.rank :: process.count]
    missing = [caption for caption in own if _key(caption) not in known]
    if not missing:
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    encode = load()
    for first in range(0, len(missing), PACKED):
        pack: dict[str, Tensor] = {}
        for begin in range(first, min(first + PACKED, len(missing)), AT_ONCE):
            some = missing[begin : min(begin + AT_ONCE, first + PACKED)]
            pack |= _encoded(some, encode(some))
            on_progress(Progress(STAGE, begin + len(some), len(missing)))
        with replacing(_free(folder, process.rank)) as part:
            save_file(pack, part)
    return len(missing)


def encoder_name(text: Part) -> str:
    """A name that other sizes or weights of a text encoder would change: what another encoded is not mixed in."""
    sizes = json.dumps(asdict(params_of(text.shapes())), sort_keys=True, default=str)
    return hashlib.sha256(f"{sizes} {text.nbytes}".encode()).hexdigest()[:12]


def _encoded(captions: Sequence[str], text: Text) -> dict[str, Tensor]:
    """What is kept: the tokens that are real, in the type they came in."""
    assert text.mask is not None
    return {
        _key(caption): row[real].cpu().contiguous()
        for caption, row, real in zip(captions, text.tokens, text.mask, strict=True)
    }


def _places(folder: Path) -> Mapping[str, Path]:
    """The file of each caption in a folder. Raises ConfigError for a file that is damaged."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("texts_*.safetensors")):
        try:
            with safe_open(path, "pt") as file:
                found |= dict.fromkeys(file.keys(), path)
        except (OSError, SafetensorError) as error:
            raise ConfigError(f"{path} holds no encoded captions: {error}", hint="remove it and go on") from error
    return found


def _free(folder: Path, rank: int) -> Path:
    number = 0
    while (path := folder / NAME.format(rank=rank, number=number)).exists():
        number += 1
    return path


def _key(caption: str) -> str:
    return hashlib.sha256(caption.encode()).hexdigest()[:32]
