"""Many frames on one page, to see a whole video at a glance."""

from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from enliven.media.image import to_image
from enliven.types import Video

TILE = 192  # smaller frames are enlarged to this height
MARGIN = 6
INK, PAPER = (24, 24, 24), (250, 250, 248)


def contact_sheet(
    frames: UInt8[Tensor, "f 3 h w"], columns: int = 6, labels: Sequence[str] = (), title: str = ""
) -> Image.Image:
    """The frames in rows of ``columns``, each with its label below it, and a title above all."""
    scale = max(1.0, TILE / frames.shape[2])
    height, width = round(frames.shape[2] * scale), round(frames.shape[3] * scale)
    small, big = max(13, height // 14), max(16, height // 10)
    font, large = ImageFont.load_default(small), ImageFont.load_default(big)
    line = 2 * MARGIN + small if labels else MARGIN
    head = 2 * MARGIN + round(big * 1.2) if title else MARGIN
    columns = min(columns, len(frames))
    rows = -(-len(frames) // columns)
    sheet = Image.new("RGB", (columns * (width + MARGIN) + MARGIN, head + rows * (height + line)), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN), title, fill=INK, font=large)
    for index, frame in enumerate(frames):
        left, top = MARGIN + index % columns * (width + MARGIN), head + index // columns * (height + line)
        sheet.paste(to_image(frame).resize((width, height), Image.Resampling.LANCZOS), (left, top))
        if index < len(labels):
            pen.text((left, top + height + MARGIN // 2), labels[index], fill=INK, font=font)
    return sheet


def video_sheet(video: Video, count: int = 24, columns: int = 6, title: str = "") -> Image.Image:
    """A contact sheet of ``count`` frames spread evenly over a video, each with its time."""
    picked = torch.linspace(0, len(video.frames) - 1, min(count, len(video.frames))).round().long()
    labels = [timestamp(index / video.fps) for index in picked.tolist()]
    return contact_sheet(video.frames[picked], columns, labels, title)


def timestamp(seconds: float) -> str:
    """Minutes, seconds and hundredths, such as 1:02.40."""
    hundredths = round(seconds * 100)
    return f"{hundredths // 6000}:{hundredths // 100 % 60:02d}.{hundredths % 100:02d}"
