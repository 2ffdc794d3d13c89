import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from enliven.errors import MediaError
from enliven.media.image import BACKGROUND, fit_frames, fit_to, from_pixels, read_portrait, to_image, to_pixels
from golden_files import golden

ORANGE = (230, 120, 40)


def halves(left: tuple[int, ...], right: tuple[int, ...], mode: str = "RGB") -> Image.Image:
    image = Image.new(mode, (80, 60), left)
    image.paste(right, (40, 0, 80, 60))
    return image


def corners(path: Path) -> list[tuple[int, ...]]:
    image = read_portrait(path)
    assert image.mode == "RGB"
    return [image.getpixel((10, 30)), image.getpixel((image.width - 10, 30))]


def near(seen: tuple[int, ...], wanted: tuple[int, ...], error: int = 6) -> bool:
    return max(abs(a - b) for a, b in zip(seen, wanted, strict=True)) <= error


@pytest.mark.parametrize("case", ["image_crop", "image_default"])
def test_resizing_is_that_of_the_published_code(case: str) -> None:
    recorded = golden("preprocess").case(case)
    image = Image.fromarray(recorded.inputs["image_u8"].numpy())
    mode = "cover" if recorded.args["resize_mode"] == "crop" else "stretch"
    fitted = fit_to(image, recorded.args["height"], recorded.args["width"], mode)
    assert torch.equal(fitted, recorded.outputs["out"][0])


@pytest.mark.parametrize("form", ["png", "jpg", "webp", "bmp", "tiff", "gif"])
def test_every_format_keeps_its_colours(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"a.{form}"
    halves(ORANGE, (10, 20, 200)).save(path, quality=95)
    left, right = corners(path)
    assert near(left, ORANGE)
    assert near(right, (10, 20, 200))


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn a quarter clockwise to view
    halves((255, 0, 0), (0, 0, 255)).save(tmp_path / "a.jpg", exif=exif, quality=95)
    image = read_portrait(tmp_path / "a.jpg")
    assert image.size == (60, 80)
    assert near(image.getpixel((30, 10)), (255, 0, 0))
    assert near(image.getpixel((30, 70)), (0, 0, 255))


def test_transparency_shows_the_neutral_background(tmp_path: Path) -> None:
    halves((255, 0, 0, 255), (255, 255, 255, 0), "RGBA").save(tmp_path / "a.png")
    assert corners(tmp_path / "a.png") == [(255, 0, 0), BACKGROUND]
    palette = halves((255, 0, 0), (0, 255, 0)).quantize(4)
    palette.save(tmp_path / "p.png", transparency=palette.getpixel((70, 30)))
    assert corners(tmp_path / "p.png") == [(255, 0, 0), BACKGROUND]
    halves((255, 255), (0, 0), "LA").save(tmp_path / "l.png")
    assert corners(tmp_path / "l.png") == [(255, 255, 255), BACKGROUND]


def test_cmyk_has_the_right_colours(tmp_path: Path) -> None:
    halves((0, 255, 255, 0), (255, 255, 0, 0), "CMYK").save(tmp_path / "a.jpg", quality=98)
    left, right = corners(tmp_path / "a.jpg")
    assert near(left, (255, 0, 0))
    assert near(right, (0, 0, 255))


def test_sixteen_bits_keep_their_shades(tmp_path: Path) -> None:
    levels = np.repeat(np.linspace(0, 65535, 80)[None], 60, 0)
    Image.fromarray(levels.astype(np.uint16)).save(tmp_path / "a.png")
    Image.fromarray((levels / 65535).astype(np.float32)).save(tmp_path / "f.tiff")
    for name in ("a.png", "f.tiff"):
        row = np.asarray(read_portrait(tmp_path / name))[30, :, 0]
        assert np.abs(row - levels[0] / 257).max() <= 1


def test_grey_and_one_bit_are_read(tmp_path: Path) -> None:
    halves((60,), (200,), "L").save(tmp_path / "a.png")
    assert corners(tmp_path / "a.png") == [(60, 60, 60), (200, 200, 200)]
    halves((0,), (1,), "1").save(tmp_path / "b.png")
    assert corners(tmp_path / "b.png") == [(0, 0, 0), (255, 255, 255)]


def test_a_colour_profile_is_honoured(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    linear = re.sub(rb"(para.{8})....", lambda m: m[1] + b"\0\1\0\0", srgb, flags=re.DOTALL)  # exponent 1, not 2.4
    assert linear != srgb
    for name, profile in [("s.png", srgb), ("l.png", linear), ("n.png", b"nonsense")]:
        halves((90, 120, 60), (200, 200, 200)).save(tmp_path / name, icc_profile=profile)
    assert near(corners(tmp_path / "s.png")[0], (90, 120, 60), 1)
    assert corners(tmp_path / "l.png")[0] > (140, 160, 110)
    assert corners(tmp_path / "n.png")[0] == (90, 120, 60)


@pytest.mark.parametrize("size", [(1, 1), (31, 400), (500, 12)])
def test_tiny_pictures_are_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size).save(tmp_path / "a.png")
    with pytest.raises(MediaError, match=rf"a\.png is {size[0]} x {size[1]} pixels; each side needs at least 32"):
        read_portrait(tmp_path / "a.png")


def test_extreme_aspects_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (400, 90)).save(tmp_path / "a.png")
    with pytest.raises(MediaError, match="at most 4 times") as caught:
        read_portrait(tmp_path / "a.png")
    assert "crop" in caught.value.hint


@pytest.mark.parametrize("side", [9200, 15_000])
def test_decompression_bombs_are_refused_before_they_unpack(tmp_path: Path, side: int) -> None:
    Image.new("1", (side, side)).save(tmp_path / "a.png")
    with pytest.raises(MediaError, match="more than 80 million pixels"):
        read_portrait(tmp_path / "a.png")


@pytest.mark.parametrize("form", ["png", "jpg", "webp", "tiff", "gif", "bmp"])
def test_truncated_pictures_are_refused(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"a.{form}"
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(MediaError, match="not a picture that can be read"):
        read_portrait(path)


@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 400, b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%!PS-Adobe-3.0 EPSF"]
)
def test_what_is_not_a_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(MediaError, match=r"a\.png is (empty .*|no picture of a known kind)$"):
        read_portrait(tmp_path / "a.png")


def test_pixels_are_cut_off_and_not_rounded() -> None:
    values = torch.tensor([-2.0, -1.0, 0.0, 0.999, 1.0, 3.0]).reshape(1, 6, 1).expand(3, 6, 1)
    assert to_pixels(values)[0, :, 0].tolist() == [0, 0, 127, 254, 255, 255]


def test_frames_keep_their_values_at_their_own_size_and_their_looks_at_another() -> None:
    frames = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(2, 3, 16, 16)
    assert torch.equal(fit_frames(frames, 16, 16), frames)
    enlarged = fit_frames(frames, 32, 32)
    assert enlarged.shape == (2, 3, 32, 32)
    assert torch.equal(from_pixels(enlarged[0]), fit_to(to_image(frames[0]), 32, 32))
