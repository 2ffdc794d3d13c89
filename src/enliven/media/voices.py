"""Several voices on one time line: who is heard when, and what is heard of all."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from enliven.errors import RequestError


class Turns(StrEnum):
    """How voices follow each other; the names are those of LongCat's input files."""

    TOGETHER = "para"
    IN_TURN = "add"


@dataclass(frozen=True, slots=True)
class Voices:
    """Voices of equal length, silent where others speak alone, and what is heard when all of them play."""

    tracks: Float[Tensor, "p *channels samples"]
    mixed: Float[Tensor, "*channels samples"]


def arrange_voices(voices: Sequence[Float[Tensor, "*channels _"]], turns: Turns) -> Voices:
    """Waveforms of one rate and any lengths on one time line.

    ``TOGETHER``: all begin at 0, and shorter ones are silent at the end. ``IN_TURN``: one after the other, each silent
    while the others speak. A waveform without samples is somebody who says nothing. The sum of voices may be louder
    than 1; then all of the mixed track is made quieter, and the tracks are not.

    Raises RequestError when there is no voice, when nobody says anything, and for channels that are not equal.
    """
    if not voices or not any(voice.shape[-1] for voice in voices):
        raise RequestError(f"{len(voices)} voices, and none of them sounds", hint="give at least one recording")
    shapes = {tuple(voice.shape[:-1]) for voice in voices}
    if len(shapes) > 1:
        raise RequestError(f"voices of different channels: {sorted(shapes)}", hint="make all of them mono")
    starts, total = _time_line([voice.shape[-1] for voice in voices], turns)
    placed = [pad(voice, (start, total - start - voice.shape[-1])) for voice, start in zip(voices, starts, strict=True)]
    tracks = torch.stack(placed)
    mixed = tracks.sum(0)
    return Voices(tracks, mixed / mixed.abs().max().clamp(min=1))


def _time_line(lengths: Sequence[int], turns: Turns) -> tuple[list[int], int]:
    """Where each voice begins, and where the last one ends."""
    if turns is Turns.TOGETHER:
        return [0] * len(lengths), max(lengths)
    return [sum(lengths[:index]) for index in range(len(lengths))], sum(lengths)
