"""Who is in a film: a file beside it says in which recording each of them speaks, and where they are.

``a.speakers.json`` beside ``a.mp4`` is an input file as ``enliven generate --input`` takes it; the film is its picture.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from enliven.data.encoded import Heads
from enliven.errors import MediaError, RequestError
from enliven.media.audio import SPEECH_RATE
from enliven.media.regions import Box, check_boxes, fit_box
from enliven.media.speakers_file import read_speakers_file
from enliven.media.video import read_first_frame, video_length
from enliven.media.voices import Turns, arrange_voices

logger = logging.getLogger(__name__)

SPEAKERS = ".speakers.json"
APART = 0.5  # seconds by which a recording may be shorter or longer than its film


@dataclass(frozen=True, slots=True)
class FilmPeople:
    """The people of a film: a recording of each, None for who listens, and the ``boxes`` of several in its pixels.

    The film has a ``size`` (height, width) and lasts so many ``seconds``; ``prompt`` says what is seen in it.
    """

    recordings: tuple[Path | None, ...]
    turns: Turns
    boxes: tuple[Box, ...]
    size: tuple[int, int]
    seconds: float
    prompt: str

    def voices(self, hear: Callable[[Path], Float[Tensor, "_"]]) -> Float[Tensor, "p n"]:
        """What each of them says, as ``hear`` hears recordings at 16 kHz, and silence where they listen.

        Raises MediaError for a recording that cannot be read, or that is not as long as the film.
        """
        heard = [hear(path) if path else torch.zeros(0) for path in self.recordings]
        said = [(path.name, len(voice)) for path, voice in zip(self.recordings, heard, strict=True) if path]
        if self.turns is Turns.IN_TURN:
            said = [(", ".join(name for name, _ in said), sum(length for _, length in said))]
        for name, length in said:
            if abs(length / SPEECH_RATE - self.seconds) > APART:
                raise MediaError(
                    f"{name} lasts {length / SPEECH_RATE:.1f} s, and the film {self.seconds:.1f} s",
                    hint="give recordings of the whole film, silent where somebody listens",
                )
        return arrange_voices(heard, self.turns).tracks

    def places(self, height: int, width: int, token: int = 1) -> Heads | None:
        """Where several are in clips of that size, of which a token has so many pixels a side; None for one person.

        Raises RequestError where somebody is cut off with the edges that do not fit, or is smaller than a token.
        """
        if len(self.recordings) == 1:
            return None
        boxes = [fit_box(box, self.size, height, width) for box in self.boxes]
        for number, (top, left, bottom, right) in enumerate(boxes, start=1):
            if -(-top // token) * token >= bottom or -(-left // token) * token >= right:  # which pixels decide
                raise RequestError(
                    f"nothing of speaker {number} is left in clips of {width} x {height}",
                    hint="give a larger box, or a --size of the shape of the film",
                )
        return Heads(torch.tensor(boxes), (height, width), whole=True)


def read_people(film: Path, most: int | None = None) -> FilmPeople | None:
    """Who is in a ``film``, ``most`` of whom can be heard; None where no file beside it says so.

    Raises RequestError for a file that says it wrongly, MediaError for what it names and cannot be read.
    """
    path = film.with_suffix(SPEAKERS)
    if not path.is_file():
        return None
    told, picture = read_speakers_file(path, film), read_first_frame(film)
    _require_near(path, told.voices)
    if told.others:
        logger.warning("%d people of %s who have no voice are not told of", len(told.others), path.name)
    size = (picture.shape[1], picture.shape[2])
    if most is not None and len(told.voices) > most:
        raise RequestError(
            f"{path.name}: {len(told.voices)} people speak, and the model hears {most}",
            hint="name a --model that hears several",
        )
    if len(told.voices) > 1 and not told.boxes:
        raise RequestError(f"{path.name}: bbox is missing", hint="give a box for each person, in pixels of the film")
    try:
        check_boxes(told.boxes, *size)
    except RequestError as error:
        raise RequestError(f"{path.name}: {error}", hint=error.hint) from None
    frames, rate = video_length(film)
    return FilmPeople(told.voices, told.turns, told.boxes, size, frames / rate, " ".join(told.prompt.split()))


def _require_near(path: Path, recordings: Sequence[Path | None]) -> None:
    """Raise RequestError for a recording outside the folder of the film: what is heard goes into shards."""
    folder = path.parent.resolve()
    for recording in recordings:
        if recording is not None and not recording.resolve().is_relative_to(folder):
            raise RequestError(f"{path.name}: {recording} is not in the folder of the film", hint="copy it there")
