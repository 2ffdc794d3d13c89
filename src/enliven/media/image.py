"""Pictures to tensors: the untrusted portrait, and the exact resizing a backbone was trained with."""

from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

from enliven.errors import MediaError
from enliven.media.container import check_file

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
MOST_BYTES = 256 * 2**20
MOST_PIXELS = 80_000_000
LEAST_SIDE = 32
MOST_ASPECT = 4.0
BACKGROUND = (128, 128, 128)  # what shows through transparent pixels: the middle of the value range


def read_portrait(path: Path) -> Image.Image:
    """A picture as upright 8-bit sRGB, whatever it was: turned by EXIF, transparent, CMYK, 16-bit, palette, animated.

    Raises MediaError: not a picture of a known format, damaged, too many pixels, a side under 32, longer than 4:1.
    """
    path = check_file(path, MOST_BYTES)
    try:
        with Image.open(path, formats=FORMATS) as image:
            _check_size(path.name, *image.size)
            image.load()
            return _upright_rgb(image)
    except MediaError:
        raise
    except UnidentifiedImageError:
        raise MediaError(
            f"{path.name} is no picture of a known kind", hint="give a PNG, JPEG, WebP, BMP, TIFF or GIF"
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise _too_large(path.name) from None
    except Exception as error:  # decoders meet damaged data with almost any exception
        raise MediaError(
            f"{path.name} is not a picture that can be read ({str(error).lower() or type(error).__name__})",
            hint="give a PNG, JPEG, WebP, BMP, TIFF or GIF; if it is one, it is damaged: export it again",
        ) from None


def fit_to(
    image: Image.Image, height: int, width: int, mode: Literal["cover", "stretch"] = "cover"
) -> Float[Tensor, "3 height width"]:
    """A picture at the size of a frame, in -1..1, by Lanczos.

    ``cover`` keeps the aspect and cuts what stands over equally at both ends (LongCat-Video-Avatar); ``stretch``
    ignores the aspect (LongCat-Video).
    """
    rgb = image.convert("RGB")
    if mode == "stretch":
        return from_pixels(_pixels(rgb.resize((width, height), Image.Resampling.LANCZOS)))
    cover_height, cover_width = covering((rgb.height, rgb.width), height, width)
    frame = Image.new("RGB", (width, height))
    resized = rgb.resize((cover_width, cover_height), Image.Resampling.LANCZOS)
    frame.paste(resized, (width // 2 - cover_width // 2, height // 2 - cover_height // 2))
    return from_pixels(_pixels(frame))


def covering(size: tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """Height and width of a picture of ``size`` (height, width) that just covers a frame, its aspect kept."""
    wide = width * size[0] > height * size[1]  # the frame is wider than the picture
    return (size[0] * width // size[1], width) if wide else (height, size[1] * height // size[0])


def fit_frames(frames: UInt8[Tensor, "f 3 h w"], height: int, width: int) -> UInt8[Tensor, "f 3 height width"]:
    """Video frames at another size, each as ``fit_to`` would."""
    if frames.shape[-2:] == (height, width):
        return frames
    fitted = [fit_to(to_image(frame), height, width) for frame in frames]
    return torch.stack([((frame + 1) * 127.5).round().to(torch.uint8) for frame in fitted])


def from_pixels(pixels: UInt8[Tensor, "*b 3 h w"]) -> Float[Tensor, "*b 3 h w"]:
    """0..255 to -1..1."""
    return pixels.float() / 255 * 2 - 1


def to_pixels(values: Float[Tensor, "*b 3 h w"]) -> UInt8[Tensor, "*b 3 h w"]:
    """-1..1 to 0..255, clamped and cut off (not rounded) as the published pipelines do."""
    return ((values.float() / 2 + 0.5).clamp(0, 1) * 255).to(torch.uint8)


def to_image(frame: UInt8[Tensor, "3 h w"]) -> Image.Image:
    """One frame as a picture."""
    return Image.fromarray(frame.permute(1, 2, 0).contiguous().cpu().numpy())


def _pixels(image: Image.Image) -> UInt8[Tensor, "3 h w"]:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _check_size(name: str, width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise _too_large(name)
    if min(width, height) < LEAST_SIDE:
        raise MediaError(
            f"{name} is {width} x {height} pixels; each side needs at least {LEAST_SIDE}",
            hint="give a larger picture of the person",
        )
    if max(width, height) > MOST_ASPECT * min(width, height):
        raise MediaError(
            f"{name} is {width} x {height} pixels; one side may be at most {MOST_ASPECT:g} times the other",
            hint="crop it around the person",
        )


def _too_large(name: str) -> MediaError:
    return MediaError(f"{name} has more than {MOST_PIXELS // 10**6} million pixels", hint="scale it down first")


def _upright_rgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    upright = _eight_bit(ImageOps.exif_transpose(image))
    if upright.has_transparency_data:
        backdrop = Image.new("RGBA", upright.size, (*BACKGROUND, 255))
        upright = Image.alpha_composite(backdrop, upright.convert("RGBA")).convert("RGB")
    return _in_srgb(upright, profile)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Pictures of 16 or 32 bits a sample, which PIL would clip, scaled to 8."""
    if image.mode not in {"I", "F"} and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are not numbers")
    top = 65535.0
    if image.mode == "F":  # floating-point TIFF comes in 0..1 and in 0..255
        top = 1.0 if values.max() <= 1 else 255.0
    return Image.fromarray((values / top * 255).round().clip(0, 255).astype(np.uint8))


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The same colours in sRGB; a picture without a usable colour profile is taken to be in it."""
    if profile and image.mode in {"RGB", "CMYK", "L"}:
        try:
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB") or image
        except (ImageCms.PyCMSError, OSError):
            pass
    return image.convert("RGB")
