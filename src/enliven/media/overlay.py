"""A picture that shows who speaks: numbered boxes with the names of their sounds, to look at before the work begins."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from enliven.media.speakers import Speaker

LEAST_HEIGHT = 480  # smaller pictures are enlarged, or names could not be read
COLOURS = ((230, 90, 60), (50, 120, 220), (60, 160, 90), (170, 90, 200), (220, 160, 30), (40, 170, 180))
TINT = 0.3
PAPER = (255, 255, 255)


def draw_speakers(picture: Image.Image, speakers: Sequence[Speaker]) -> Image.Image:
    """The picture with each speaker's pixels tinted, and their box, number and name; at least 480 pixels high."""
    shown = _tinted(picture, speakers)
    scale = max(1.0, LEAST_HEIGHT / picture.height)
    shown = shown.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
    size = max(16, shown.height // 24)
    pen, font = ImageDraw.Draw(shown), ImageFont.load_default(size)
    for index, speaker in enumerate(speakers):
        top, left, bottom, right = (round(scale * edge) for edge in speaker.box)
        colour = COLOURS[index % len(COLOURS)]
        pen.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=max(2, size // 7))
        _label(pen, (left, top), f"{index + 1}", font, colour)
        if speaker.name:
            _label(pen, (left, bottom - round(1.5 * size)), _cut(pen, speaker.name, font, right - left), font, colour)
    return shown


def _tinted(picture: Image.Image, speakers: Sequence[Speaker]) -> Image.Image:
    pixels = np.array(picture.convert("RGB")).astype(np.float32)
    for index, speaker in enumerate(speakers):
        mask = speaker.mask.numpy()
        pixels[mask] += TINT * (np.array(COLOURS[index % len(COLOURS)], np.float32) - pixels[mask])
    return Image.fromarray(pixels.round().astype(np.uint8))


def _label(
    pen: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    colour: tuple[int, int, int],
) -> None:
    """White text on a patch of colour whose upper left corner is ``corner``."""
    left, top = corner
    _, _, right, bottom = pen.textbbox((0, 0), text, font=font)
    edge = round(0.35 * bottom)
    pen.rectangle((left, top, left + right + 2 * edge, top + bottom + edge), fill=colour)
    pen.text((left + edge, top + edge // 2), text, fill=PAPER, font=font)


def _cut(pen: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """As much of the end of a name as fits; the end of a file name says most."""
    if pen.textlength(text, font=font) <= 0.9 * width:
        return text
    for start in range(1, len(text)):
        if pen.textlength(f"…{text[start:]}", font=font) <= 0.9 * width:
            return f"…{text[start:]}"
    return "…"
