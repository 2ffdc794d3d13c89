"""Video files to frames, and frames to the segments that a finished video is joined from."""

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import dropwhile, islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from av.error import FFmpegError
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from enliven.errors import MediaError
from enliven.media.audio import read_audio
from enliven.media.container import decode, name_of, open_media
from enliven.media.storage import replacing
from enliven.types import Audio, Video

MOST_BYTES = 4 * 2**30
LONGEST_SECONDS = 24 * 3600.0
MOST_PIXELS = 8192 * 4320
FRAME_RATES = (1.0, 240.0)
# The encoder's choices are part of the file's bytes: a fixed number of threads, and no B-frames, so that packets stand
# in the order of their frames and segments join by counting.
ENCODER = {"crf": "15", "preset": "medium", "bf": "0"}
ENCODER_THREADS = 4
CONTAINER = {"fflags": "+bitexact"}
EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP | Interpolation.FULL_CHR_H_INT


def read_video(path: Path, fps: float | None = None, last_frames: int | None = None, *, sound: bool = False) -> Video:
    """The frames of a video, upright, in full-range sRGB, with its ``sound`` if asked for.

    ``fps`` picks, for every frame wanted, the one nearest in time (None: the file's own average rate). With
    ``last_frames`` only that many are kept and held, with the sound that belongs to them. Raises MediaError.
    """
    with open_media(path) as container:
        stream = _video_stream(container)
        rate = _own_rate(stream) if fps is None else fps
        _check_rate(rate, name_of(container))
        frames = _last(container, stream, rate, last_frames) if last_frames else _all(container, stream, rate)
    if not frames:
        raise MediaError(f"{path.name} holds no picture that can be decoded", hint="it is damaged: export it again")
    video = Video(torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2), rate)
    return Video(video.frames, rate, _sound_of(path, video.seconds, last=last_frames is not None)) if sound else video


def video_frames(path: Path, fps: float) -> Iterator[UInt8[Tensor, "3 h w"]]:
    """The frames of a video at ``fps`` one after the other, as ``read_video`` has them, but none is kept.

    Raises MediaError.
    """
    _check_rate(fps, path.name)
    with open_media(path) as container:
        stream = _video_stream(container)
        for frame in _at_rate(decode(container, stream), stream, fps):
            yield torch.from_numpy(_rgb(frame, stream.sample_aspect_ratio)).permute(2, 0, 1)


def read_moment(path: Path, fps: float, frames: int, place: float) -> UInt8[Tensor, "f 3 h w"]:
    """So many ``frames`` in a row at ``fps``, as ``read_video`` has them, of which nothing before is turned to RGB.

    They begin at ``place``: 0 is the beginning of the video, 1 the last moment that has so many behind it. Raises
    MediaError, also for a shorter video.
    """
    _check_rate(fps, path.name)
    with open_media(path) as container:
        stream = _video_stream(container)
        begin = float((stream.start_time or 0) * stream.time_base)
        start = place * max(0.0, _seconds(container, stream) - frames / fps)
        found = _moment(container, stream, fps, begin + start, frames)
        if len(found) < frames:  # less is there than the file says
            found = _moment(container, stream, fps, begin, frames)
    if len(found) < frames:
        raise MediaError(
            f"{path.name} has {len(found)} frames at {fps:g} fps; at least {frames} are needed",
            hint="give a longer video",
        )
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2)


def video_length(path: Path) -> tuple[int, float]:
    """How many frames ``read_video`` finds in a video at its own rate, and that rate in hertz. Raises MediaError."""
    with open_media(path) as container:
        stream = _video_stream(container)
        rate = _own_rate(stream)
        _check_rate(rate, name_of(container))
        return sum(1 for _ in _at_rate(decode(container, stream), stream, rate)), rate


def read_first_frame(path: Path) -> UInt8[Tensor, "3 h w"]:
    """The frame a video begins with, upright, in full-range sRGB. Raises MediaError."""
    with open_media(path) as container:
        stream = _video_stream(container)
        for frame in decode(container, stream):
            return torch.from_numpy(_rgb(frame, stream.sample_aspect_ratio)).permute(2, 0, 1)
    raise MediaError(f"{path.name} holds no picture that can be decoded", hint="it is damaged: export it again")


def encode_segment(chunks: Iterable[UInt8[Tensor, "_ 3 h w"]], fps: float, path: Path) -> int:
    """Write frames, chunk by chunk, as an H.264 segment that ``join_segments`` can join; return how many there were.

    yuv420p, BT.709, limited range, tagged so. Odd sizes grow by repeating the last row or column. The same frames
    always give the same bytes, and ``path`` appears only when complete. Raises StorageError.
    """
    rate = frame_rate(fps)
    count, stream = 0, None
    with (
        replacing(path) as part,
        av.open(str(part), "w", format="mp4", container_options=CONTAINER) as out,
    ):
        for chunk in chunks:
            for picture in chunk.permute(0, 2, 3, 1).contiguous().cpu().numpy():
                stream = stream or _h264_stream(out, rate, *picture.shape[:2])
                out.mux(stream.encode(_encodable(picture, count, rate)))
                count += 1
        if stream is None:
            raise ValueError(f"no frames were given for {path.name}; at least 1 was expected")
        out.mux(stream.encode(None))
    return count


def frame_rate(fps: float) -> Fraction:
    """``fps`` as the fraction a file can hold, such as 30000/1001."""
    return Fraction(fps).limit_denominator(1001)


def _h264_stream(out: Any, rate: Fraction, height: int, width: int) -> Any:
    stream = out.add_stream("libx264", rate=rate, options=ENCODER)
    stream.pix_fmt, stream.height, stream.width = "yuv420p", height + height % 2, width + width % 2
    context = stream.codec_context
    context.thread_count = ENCODER_THREADS
    context.colorspace = context.color_primaries = context.color_trc = Colorspace.ITU709
    context.color_range = ColorRange.MPEG
    return stream


def _encodable(picture: NDArray[np.uint8], index: int, rate: Fraction) -> Any:
    height, width = picture.shape[:2]
    even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    frame = av.VideoFrame.from_ndarray(even, format="rgb24").reformat(
        format="yuv420p",
        src_colorspace=Colorspace.ITU709,
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        interpolation=EXACT,
    )
    frame.pts, frame.time_base = index, 1 / rate
    return frame


def _video_stream(container: Any) -> Any:
    name = name_of(container)
    # Cover art of a song is a picture, not a video.
    moving = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not moving:
        raise MediaError(f"{name} has no video", hint="give a video file; a still picture goes in as the portrait")
    stream = moving[0]
    if stream.codec_context is None or not stream.width:
        raise MediaError(f"{name} holds video in a coding that is not known", hint="export it as H.264 in MP4")
    if stream.width * stream.height > MOST_PIXELS:
        raise MediaError(
            f"{name} is {stream.width} x {stream.height}; at most {MOST_PIXELS} pixels a frame are read",
            hint="scale it down first",
        )
    stream.thread_type = "AUTO"
    return stream


def _own_rate(stream: Any) -> float:
    return float(stream.average_rate or stream.guessed_rate or 25)


def _check_rate(rate: float, name: str) -> None:
    low, high = FRAME_RATES
    if not low <= rate <= high:
        raise MediaError(
            f"{name} would have {rate:g} frames a second; {low:g} to {high:g} are possible", hint="give another fps"
        )


def _all(container: Any, stream: Any, rate: float) -> list[NDArray[np.uint8]]:
    frames: list[NDArray[np.uint8]] = []
    held = 0
    for frame in _at_rate(decode(container, stream), stream, rate):
        frames.append(_rgb(frame, stream.sample_aspect_ratio))
        held += frames[-1].nbytes
        if held > MOST_BYTES:
            raise MediaError(
                f"{name_of(container)} takes more than {MOST_BYTES / 2**30:g} GiB decoded",
                hint="cut it, or scale it down",
            )
    return frames


def _last(container: Any, stream: Any, rate: float, count: int) -> list[NDArray[np.uint8]]:
    """Only the last frames are turned to RGB; decoding starts shortly before them where the file allows it."""
    start = (container.duration or 0) / av.time_base - count / rate - 2
    if start > 0:
        container.seek(round(start * av.time_base))
    kept = deque(_at_rate(decode(container, stream), stream, rate), maxlen=count)
    if start > 0 and len(kept) < count:
        container.seek(0)
        kept = deque(_at_rate(decode(container, stream), stream, rate), maxlen=count)
    if len(kept) < count:
        raise MediaError(
            f"{name_of(container)} has {len(kept)} frames at {rate:g} fps; at least {count} are needed",
            hint="give a longer video",
        )
    return [_rgb(frame, stream.sample_aspect_ratio) for frame in kept]


def _seconds(container: Any, stream: Any) -> float:
    """How long the file says that its video is; 0 where it does not say."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / av.time_base


def _moment(container: Any, stream: Any, rate: float, start: float, count: int) -> list[NDArray[np.uint8]]:
    """At most ``count`` frames from ``start`` seconds on; decoding begins at the key frame before."""
    try:
        container.seek(round(start * av.time_base))
    except FFmpegError as error:
        raise MediaError(f"{name_of(container)} cannot be searched: {error}", hint="export it again") from None
    late = dropwhile(lambda frame: (frame.time or 0.0) < start - 0.5 / rate, decode(container, stream))
    return [_rgb(frame, stream.sample_aspect_ratio) for frame in islice(_at_rate(late, stream, rate), count)]


def _at_rate(frames: Iterator[Any], stream: Any, rate: float) -> Iterator[Any]:
    """Repeat or leave out frames so that output k is the frame that begins nearest to k/rate seconds.

    A frame that is held for longer stays until half an output frame before the next one begins.
    """
    begin = float((stream.start_time or 0) * stream.time_base)
    usual = 1 / float(stream.average_rate or rate)
    shown, shown_at, index = None, 0.0, 0
    for frame in frames:
        at = frame.time - begin if frame.time is not None else shown_at + usual
        if at > LONGEST_SECONDS:  # one false time stamp would repeat a frame for ever
            raise MediaError(f"a frame is stamped {at:.0f} s", hint="the file is damaged, or too long: export it again")
        if shown is None:
            index = max(0, round(at * rate))
        while shown is not None and index / rate < at - min(at - shown_at, 1 / rate) / 2:
            yield shown
            index += 1
        shown, shown_at = frame, at
    while shown is not None and index / rate < shown_at + usual - 1e-3:
        yield shown
        index += 1


def _rgb(frame: Any, pixel_aspect: Fraction | None) -> NDArray[np.uint8]:
    """Full-range RGB with square pixels, upright. Untagged video is BT.709 from 720 lines on, BT.601 below."""
    space = frame.colorspace
    if space not in set(Colorspace):
        space = Colorspace.ITU709 if frame.height >= 720 else Colorspace.ITU601
    picture = frame.reformat(
        width=round(frame.width * (pixel_aspect or 1)),
        height=frame.height,
        format="rgb24",
        src_colorspace=space,
        dst_colorspace=space,
        src_color_range=ColorRange.JPEG if frame.color_range == ColorRange.JPEG else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=EXACT,
    ).to_ndarray()
    return np.ascontiguousarray(np.rot90(picture, round(frame.rotation / 90)))


def _sound_of(path: Path, seconds: float, *, last: bool) -> Audio:
    audio = read_audio(path)
    wanted = min(round(seconds * audio.rate), audio.samples.shape[1])
    samples = audio.samples[:, -wanted:] if last else audio.samples[:, :wanted]
    return Audio(samples, audio.rate)
