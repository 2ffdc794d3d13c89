"""Segments and sound to one finished MP4, by copying: nothing is encoded twice and memory stays flat."""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from fractions import Fraction
from io import BytesIO
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
import soxr
from av.error import FFmpegError
from numpy.typing import NDArray

from enliven.errors import MediaError
from enliven.media.audio import audio_blocks, audio_stream
from enliven.media.container import open_media, packets
from enliven.media.storage import replacing
from enliven.media.video import encode_segment, frame_rate
from enliven.types import Audio, Video

COPYABLE = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "alac", "flac"})
KEPT_RATES = (44_100, 48_000)
BIT_RATE = 128_000
NO_TAGS: Mapping[str, str] = {}
OPTIONS = {"fflags": "+bitexact", "movflags": "+faststart"}


def join_segments(
    segments: Sequence[Path],
    output: Path,
    *,
    fps: float,
    sound: Path | Audio | None = None,
    frames: int | None = None,
    tags: Mapping[str, str] = NO_TAGS,
) -> None:
    """Join what ``encode_segment`` wrote into one MP4 of at most ``frames`` frames, with sound of the same length.

    A sound file is copied as it is where MP4 can carry its coding and its end is within a frame of the video's;
    otherwise it becomes AAC, cut or padded with silence. The same input always gives the same bytes, and ``output``
    appears only when complete. Raises MediaError and StorageError.
    """
    rate = frame_rate(fps)
    total = sum(_length(segment) for segment in segments)
    total = total if frames is None else min(total, frames)
    with ExitStack() as stack:
        part = stack.enter_context(replacing(output))
        out = stack.enter_context(av.open(str(part), "w", format="mp4", container_options=OPTIONS))
        out.metadata.update(tags)
        first = stack.enter_context(open_media(segments[0])).streams.video[0]
        pictures = _pictures(segments, out.add_stream_from_template(first), first.codec_context.extradata, rate, total)
        sounds = _sounds(sound, out, stack, rate, total)
        for packet in heapq.merge(pictures, sounds, key=lambda p: p.dts * p.time_base):
            out.mux(packet)


def write_video(video: Video, path: Path) -> None:
    """Write a video that is in memory, with its sound, as MP4. Raises StorageError."""
    with TemporaryDirectory() as folder:
        segment = Path(folder) / "segment.mp4"
        encode_segment([video.frames], video.fps, segment)
        join_segments([segment], path, fps=video.fps, sound=video.audio)


def _length(segment: Path) -> int:
    with open_media(segment) as container:
        return int(container.streams.video[0].frames)


def _pictures(segments: Sequence[Path], stream: Any, header: bytes, rate: Fraction, total: int) -> Iterator[Any]:
    index = 0
    for segment in segments:
        with open_media(segment) as container:
            source = container.streams.video[0]
            if source.codec_context.extradata != header:
                raise MediaError(
                    f"{segment.name} was encoded with another size or other settings than {segments[0].name}",
                    hint="remove the segments and run again",
                )
            for packet in packets(container, source):
                if index == total:
                    return
                packet.pts = packet.dts = index
                packet.duration, packet.time_base, packet.stream = 1, 1 / rate, stream
                yield packet
                index += 1


def _sounds(sound: Path | Audio | None, out: Any, stack: ExitStack, rate: Fraction, total: int) -> Iterator[Any]:
    seconds = Fraction(total) / rate
    if sound is None:
        return iter(())
    if isinstance(sound, Audio):
        return _encoded(iter([sound]), _aac_stream(out, sound), seconds)
    container = stack.enter_context(open_media(sound))
    source = audio_stream(container)
    begin, end = _span(sound, seconds)
    if begin is not None and abs(end - seconds) <= 1 / rate and _fits_mp4(sound):
        return _copied(container, source, out.add_stream_from_template(source), begin, seconds)
    blocks = audio_blocks(sound)
    first = next(blocks)
    return _encoded(chain([first], blocks), _aac_stream(out, first), seconds)


def _fits_mp4(sound: Path) -> bool:
    """Whether MP4 carries this sound untouched, found out by trying with its first packets."""
    with open_media(sound) as container:
        source = audio_stream(container)
        if source.codec_context.codec.canonical_name not in COPYABLE:
            return False
        try:
            with av.open(BytesIO(), "w", format="mp4") as trial:
                stream = trial.add_stream_from_template(source)
                for packet in islice(packets(container, source), 4):
                    packet.stream = stream
                    trial.mux(packet)
        except (FFmpegError, ValueError):
            return False
    return True


def _span(sound: Path, seconds: Fraction) -> tuple[Fraction | None, Fraction]:
    """When sound is first heard, by the file's clock, and how long it lasts from there, cut to whole packets."""
    begin, end = None, Fraction(0)
    with open_media(sound) as container:
        source = audio_stream(container)
        for packet in packets(container, source):
            if begin is None:
                begin = next((frame.pts * frame.time_base for frame in _decoded(packet)), None)
            if begin is None or not _starts_before(packet, begin, seconds):
                continue
            end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base - begin)
    return begin, end


def _decoded(packet: Any) -> list[Any]:
    try:
        return packet.decode()
    except FFmpegError:
        return []


def _starts_before(packet: Any, begin: Fraction, seconds: Fraction) -> bool:
    """More of the packet lies before the end of the video than after it."""
    return (packet.pts + (packet.duration or 0) / 2) * packet.time_base - begin < seconds


def _copied(container: Any, source: Any, stream: Any, begin: Fraction, seconds: Fraction) -> Iterator[Any]:
    """The packets as they are, moved so that sound is first heard at 0; what lies before is hidden by the edit list."""
    shift = round(begin / source.time_base)
    for packet in packets(container, source):
        if _starts_before(packet, begin, seconds):
            packet.pts -= shift
            packet.dts, packet.stream = packet.pts, stream
            yield packet


def _aac_stream(out: Any, audio: Audio) -> Any:
    channels = audio.samples.shape[0]
    stream = out.add_stream("aac", rate=audio.rate if audio.rate in KEPT_RATES else KEPT_RATES[-1])
    stream.layout = "stereo" if channels == 2 else "mono"
    stream.bit_rate = BIT_RATE
    return stream


def _encoded(blocks: Iterator[Audio], stream: Any, seconds: Fraction) -> Iterator[Any]:
    index = 0
    for samples in _exactly(_resampled(blocks, stream.rate), round(seconds * stream.rate)):
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=stream.layout.name)
        frame.rate, frame.pts, frame.time_base = stream.rate, index, Fraction(1, stream.rate)
        index += samples.shape[1]
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _resampled(blocks: Iterator[Audio], rate: int) -> Iterator[NDArray[np.float32]]:
    """Mono or stereo as [channels, samples] at ``rate``; more channels become their average."""
    resampler = None
    for block in blocks:
        samples = block.samples if block.samples.shape[0] == 2 else block.samples.mean(0, keepdim=True)
        resampler = resampler or soxr.ResampleStream(block.rate, rate, samples.shape[0], dtype="float32")
        yield np.ascontiguousarray(resampler.resample_chunk(np.ascontiguousarray(samples.numpy().T)).T)
    if resampler is not None:
        yield np.ascontiguousarray(resampler.resample_chunk(np.zeros((0, samples.shape[0]), np.float32), last=True).T)


def _exactly(pieces: Iterator[NDArray[np.float32]], wanted: int) -> Iterator[NDArray[np.float32]]:
    """Just ``wanted`` samples: what is over is cut, what is missing is silence."""
    given, channels = 0, 1
    for piece in pieces:
        channels = piece.shape[0]
        if piece[:, : wanted - given].size:
            yield np.ascontiguousarray(piece[:, : wanted - given])
        given += min(piece.shape[1], wanted - given)
    for start in range(given, wanted, KEPT_RATES[-1]):
        yield np.zeros((channels, min(KEPT_RATES[-1], wanted - start)), np.float32)
