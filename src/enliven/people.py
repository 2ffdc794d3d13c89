"""The people of a request: what each of them says and when, and where each is in the picture."""

import logging
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from enliven.errors import RequestError
from enliven.media.audio import has_sound, speech_blocks
from enliven.media.regions import Box, equal_boxes, speaker_regions
from enliven.media.speakers import FaceFinder, Speaker, find_speakers, speakers_in_boxes, speakers_in_masks
from enliven.media.vocals import Hear, heard_voice
from enliven.media.voices import arrange_voices
from enliven.request import GenerateRequest
from enliven.toonworld.find_faces import find_faces
from enliven.types import Audio

logger = logging.getLogger(__name__)

SOUND_RATE = 48_000  # of the mixed track that is heard in the video
FINDER: FaceFinder = find_faces


def speech_tracks(request: GenerateRequest, hear: Hear = heard_voice) -> tuple[Float[Tensor, "samples"], ...]:
    """What each person says, at 16 kHz and all of equal length; one empty track without audio. Raises MediaError."""
    if not any(request.audio):
        return (torch.zeros(0),)
    if len(request.audio) == 1:
        return (_speech(request.audio[0], request.vocals, hear),)
    voices = [_speech(path, request.vocals, hear) for path in request.audio]
    return tuple(arrange_voices(voices, request.turns).tracks)


def soundtrack(request: GenerateRequest) -> Path | Audio | None:
    """What the video sounds like: the one recording there is as its file, several as their mix; what is refined, as
    before. Raises MediaError.
    """
    if request.draft is not None:
        return request.draft if has_sound(request.draft) else None
    recordings = [path for path in request.audio if path]
    if len(recordings) < 2:
        return recordings[0] if recordings else None
    voices = [torch.cat(list(speech_blocks(path, SOUND_RATE)))[None] for path in recordings]
    return Audio(arrange_voices(voices, request.turns).mixed, SOUND_RATE)


def place_people(request: GenerateRequest, picture: Image.Image) -> tuple[Speaker, ...]:
    """One speaker for each voice: in the boxes or masks asked for, else where faces are found, else in equal shares.

    Raises RequestError, MediaError for places that do not fit the picture.
    """
    names = [path.name if path else "silence" for path in request.audio]
    if request.speakers:
        boxes = [place for place in request.speakers if isinstance(place, Box)]
        masks = [place for place in request.speakers if isinstance(place, Path)]
        return speakers_in_boxes(boxes, picture, names) if boxes else speakers_in_masks(masks, picture, names)
    try:
        return find_speakers(FINDER, picture, names)
    except RequestError as error:
        logger.warning("%s; each gets an equal share of it, from left to right", error)
        return speakers_in_boxes(equal_boxes(len(names), picture.height, picture.width), picture, names)


def people_regions(
    request: GenerateRequest, picture: Image.Image | None, size: tuple[int, int]
) -> Bool[Tensor, "1 regions height width"] | None:
    """What the backbone is told about who is where (``Conditioning.regions``); one voice needs no place.

    Raises RequestError, MediaError.
    """
    if picture is None or len(request.audio) < 2:
        return None
    masks = torch.stack([speaker.mask for speaker in place_people(request, picture)])
    return speaker_regions(masks, *size)


def shows_drawing(picture: Image.Image) -> bool:
    """Whether there is a face of the drawn world in the picture; photographs have none."""
    pixels = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
    return bool(find_faces(pixels))


def _speech(path: Path | None, vocals: str | None, hear: Hear) -> Float[Tensor, "samples"]:
    return hear(path, vocals) if path else torch.zeros(0)
