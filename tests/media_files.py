"""Sound and video files made on the spot, ordinary and odd."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def sweep(rate: int, seconds: float = 3.0, channels: int = 1) -> NDArray[np.float32]:
    """A rising tone that comes and goes, so that a shift in time shows."""
    time = np.arange(int(seconds * rate)) / rate
    tone = 0.4 * np.sin(2 * np.pi * (200 + 300 * time) * time) * (0.2 + 0.8 * (np.sin(2 * np.pi * 1.3 * time) > 0))
    return np.repeat(tone[None], channels, 0).astype(np.float32)


def write_wav(path: Path, samples: NDArray[np.float32], rate: int) -> Path:
    """A float WAV, bytes laid by hand so that it can hold anything."""
    channels = samples.shape[0]
    data = np.ascontiguousarray(samples.T, "<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, channels, rate, rate * channels * 4, channels * 4, 32)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    return path


def write_sound(path: Path, codec: str, form: str, samples: NDArray[np.float32], rate: int) -> Path:
    """A sound file in any coding and container FFmpeg writes."""
    with av.open(str(path), "w", format=form) as out:
        stream = out.add_stream(codec, rate=rate)
        stream.layout = {1: "mono", 2: "stereo", 6: "5.1"}[samples.shape[0]]
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=stream.layout.name)
        frame.rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        convert = av.AudioResampler(format=stream.codec_context.format.name, layout=stream.layout.name, rate=rate)
        for piece in [*convert.resample(frame), *convert.resample(None)]:
            out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    return path


def write_frames(
    path: Path, frames: Tensor, times: list[int], rate: int = 1000, codec: str = "libx264", rotate: int = 0
) -> Path:
    """A video whose frame i is shown at ``times[i] / rate`` seconds, nearly lossless, untagged."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25, options={"crf": "4", "preset": "ultrafast"})
        stream.height, stream.width = frames.shape[2:]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, rate)
        if rotate:
            stream.set_display_rotation(rotate)
        for picture, time in zip(frames.permute(0, 2, 3, 1).numpy(), times, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def grey(levels: list[int], height: int = 64, width: int = 64) -> Tensor:
    """Frames of one grey level each, ``[f, 3, h, w]``."""
    return torch.tensor(levels, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, height, width).contiguous()


def drifting(frames: int, height: int = 64, width: int = 64, start: int = 0) -> Tensor:
    """Smooth colours that move, ``[f, 3, h, w]``."""
    time, y, x = torch.meshgrid(torch.arange(frames) + start, torch.arange(height), torch.arange(width), indexing="ij")
    waves = [torch.sin(time / 9 + x / 17), torch.sin(y / 13 - time / 11), torch.cos((x + y) / 19 + time / 7)]
    return (torch.stack(waves, 1) * 110 + 128).to(torch.uint8)
