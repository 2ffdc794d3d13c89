"""Sound files to samples: native blocks, whole files, and the 16 kHz mono that speech encoders take."""

import logging
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from enliven.errors import MediaError
from enliven.media.container import decode, name_of, open_media
from enliven.types import Audio

logger = logging.getLogger(__name__)

SPEECH_RATE = 16_000
SHORTEST_SECONDS = 0.1
LONGEST_SECONDS = 4 * 3600.0
RATES = range(4_000, 768_001)
LOUDEST = 16.0
BLOCK_SECONDS = 1.0
# Recorders that skip silence leave holes in the time stamps: below the first bound jitter, above the second a fault.
HOLE_SECONDS = (0.05, 60.0)


def audio_blocks(path: Path) -> Iterator[Audio]:
    """The sound of a file in blocks of about a second, at its own rate and channels; memory does not grow with length.

    Holes in the time stamps become silence. Raises MediaError: no sound, too short or too long, samples that are not
    numbers, a rate or channel count that changes or makes no sense.
    """
    with open_media(path) as container:
        stream = audio_stream(container)
        stated = _stated_seconds(container, stream)
        rate, heard = stream.rate, 0
        for samples in _grouped(_samples(container, stream), round(rate * BLOCK_SECONDS)):
            block = Audio(torch.from_numpy(samples), rate)
            _check_samples(block, name_of(container), heard / rate)
            heard += samples.shape[1]
            if heard > LONGEST_SECONDS * rate:
                raise MediaError(
                    f"{name_of(container)} is longer than {LONGEST_SECONDS / 3600:g} hours", hint="cut it into pieces"
                )
            yield block
        _check_length(name_of(container), heard / rate, stated)


def has_sound(path: Path) -> bool:
    """Whether there is any sound in a file, be it silence. Raises MediaError."""
    with open_media(path) as container:
        return bool(container.streams.audio)


def read_audio(path: Path) -> Audio:
    """The whole sound of a file, at its own rate and channels. Raises MediaError."""
    blocks = list(audio_blocks(path))
    return Audio(torch.cat([block.samples for block in blocks], dim=1), blocks[0].rate)


def speech_blocks(path: Path, rate: int = SPEECH_RATE) -> Iterator[Float[Tensor, "samples"]]:
    """The sound of a file as mono blocks at ``rate`` hertz: channels averaged, then resampled. Raises MediaError."""
    resampler = None
    for block in audio_blocks(path):
        if resampler is None:
            resampler = soxr.ResampleStream(block.rate, rate, 1, dtype="float32")
        yield _mono(resampler.resample_chunk(block.samples.numpy().mean(0)))
    if resampler is not None:
        yield _mono(resampler.resample_chunk(np.zeros(0, np.float32), last=True))


def mono_16k(source: Path | Audio) -> Float[Tensor, "samples"]:
    """Sound as one 16 kHz channel, the average of all; an hour takes 230 MB. Raises MediaError.

    The average keeps a voice that is equal in all channels at its level, where FFmpeg's own downmix raises it by 3 dB.
    """
    if isinstance(source, Audio):
        mono = source.samples.float().numpy().mean(0)
        return _mono(soxr.resample(mono, source.rate, SPEECH_RATE))
    samples = bytearray()  # grows in place, where a list of blocks would need twice the memory to join
    for block in speech_blocks(source):
        samples += block.numpy().tobytes()
    return torch.frombuffer(samples, dtype=torch.float32)


def audio_stream(container: Any) -> Any:
    """The best sound stream of an open file. Raises MediaError where there is none that can be decoded."""
    name = name_of(container)
    stream = container.streams.best("audio")
    if stream is None:
        pictured = " (it has a picture but no sound)" if container.streams.video else ""
        raise MediaError(f"{name} has no sound{pictured}", hint="give a recording of speech, or a video with sound")
    if stream.codec_context is None:
        raise MediaError(f"{name} holds sound in a coding that is not known", hint="export it as WAV, MP3 or M4A")
    if stream.rate not in RATES:
        raise MediaError(
            f"{name} states {stream.rate} samples a second; {RATES.start} to {RATES.stop - 1} are read",
            hint="export it again at 44100 or 48000",
        )
    return stream


def _samples(container: Any, stream: Any) -> Iterator[NDArray[np.float32]]:
    rate, channels, begin, heard = stream.rate, stream.channels, None, 0
    for frame in decode(container, stream):
        if not frame.samples:
            continue
        if (frame.sample_rate, frame.layout.nb_channels) != (rate, channels):
            raise MediaError(
                f"{name_of(container)} changes from {channels} channels at {rate} Hz to {frame.layout.nb_channels} at "
                f"{frame.sample_rate} Hz after {_clock(heard / rate)}",
                hint="export it again as one piece",
            )
        if frame.time is not None:
            begin = frame.time if begin is None else begin
            hole = frame.time - begin - heard / rate
            if HOLE_SECONDS[0] < hole < HOLE_SECONDS[1]:
                heard += round(hole * rate)
                yield np.zeros((channels, round(hole * rate)), np.float32)
        heard += frame.samples
        yield _floats(frame)


def _floats(frame: Any) -> NDArray[np.float32]:
    raw = frame.to_ndarray()
    if not frame.format.is_planar:
        raw = raw.reshape(-1, frame.layout.nb_channels).T
    if raw.dtype == np.uint8:
        raw = (raw - 128.0) / 128.0
    elif raw.dtype.kind == "i":
        raw = raw / -float(np.iinfo(raw.dtype).min)
    with np.errstate(over="ignore"):  # what does not fit becomes infinite and is refused by name
        return np.ascontiguousarray(raw, np.float32)


def _grouped(pieces: Iterator[NDArray[np.float32]], size: int) -> Iterator[NDArray[np.float32]]:
    waiting: list[NDArray[np.float32]] = []
    held = 0
    for piece in pieces:
        waiting.append(piece)
        held += piece.shape[1]
        if held >= size:
            yield np.concatenate(waiting, axis=1)
            waiting, held = [], 0
    if waiting:
        yield np.concatenate(waiting, axis=1)


def _check_samples(block: Audio, name: str, start: float) -> None:
    fits = np.abs(block.samples.numpy()) <= LOUDEST  # false for NaN too
    if fits.all():
        return
    channel, index = (int(i) for i in np.argwhere(~fits)[0])
    value = float(block.samples[channel, index])
    raise MediaError(
        f"{name} holds the sample {value:g} at {_clock(start + index / block.rate)}; -1..1 was expected",
        hint="the recording is damaged or not normalised: export it again as 16-bit WAV",
    )


def _check_length(name: str, heard: float, stated: float | None) -> None:
    if heard == 0:
        raise MediaError(f"{name} holds no sound that can be decoded", hint="it is empty or damaged: export it again")
    if heard < SHORTEST_SECONDS:
        raise MediaError(
            f"{name} lasts {heard:.3f} s; at least {SHORTEST_SECONDS:g} s are needed", hint="give a longer recording"
        )
    if stated is not None and stated - heard > max(0.5, 0.01 * stated):
        logger.warning("%s says it lasts %s but only %s could be read", name, _clock(stated), _clock(heard))


def _stated_seconds(container: Any, stream: Any) -> float | None:
    """How long the file says it lasts. FFmpeg cuts what a WAV header says to what is there, so that one is read."""
    if container.format.name == "wav":
        return _wav_seconds(Path(container.name))
    return float(stream.duration * stream.time_base) if stream.duration else None


def _wav_seconds(path: Path) -> float | None:
    with path.open("rb") as file:
        file.seek(12)
        bytes_per_second = 0
        while len(head := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", head)
            if name == b"fmt ":
                bytes_per_second = int.from_bytes(file.read(size)[8:12], "little")
            elif name == b"data":
                known = 0 < size < 0xFFFF_FF00 and bytes_per_second  # a stream writes no size, or the largest
                return size / bytes_per_second if known else None
            else:
                file.seek(size + size % 2, 1)
    return None


def _mono(samples: NDArray[np.float32]) -> Float[Tensor, "samples"]:
    return torch.from_numpy(np.ascontiguousarray(samples, np.float32))


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{seconds % 60:06.3f}"
