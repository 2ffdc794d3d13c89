"""What generators, autoencoders and video coders do to drawn frames: softness that is allowed, faults that are not.

All functions take and give batches of frames in 0..1 and draw their chances from torch's global generator.
"""

import io
import math
from collections.abc import Callable, Sequence

import numpy
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from enliven.judges.judge import SIDE
from enliven.judges.quality import CELL

Frames = Float[Tensor, "b 3 128 128"]
Mask = Float[Tensor, "b 1 128 128"]
Fault = Callable[[Frames, Frames, Frames], Frames]


def soften(frames: Frames) -> Frames:
    """The same drawing as a coder would give it back: a little blurred, noisy, tinted or squeezed as a whole."""
    batch = len(frames)
    blurred = F.interpolate(F.interpolate(frames, size=_side(), mode="bilinear"), size=SIDE, mode="bicubic")
    frames = frames.lerp(blurred, torch.rand(batch, 1, 1, 1) * (torch.rand(batch, 1, 1, 1) < 0.7))
    gain = 1 + 0.03 * torch.randn(batch, 3, 1, 1)
    frames = frames * gain + 0.012 * torch.randn(batch, 3, 1, 1)
    noise = 0.02 * torch.rand(batch, 1, 1, 1) * (torch.rand(batch, 1, 1, 1) < 0.5)
    frames = (frames + noise * torch.randn_like(frames)).clamp(0, 1)
    for index in (torch.rand(batch) < 0.25).nonzero()[:, 0].tolist():
        frames[index] = squeeze(frames[index], quality=int(torch.randint(55, 96, ())))
    return frames


def blur(frames: Frames) -> Frames:
    """Averages of 3 x 3 pixels."""
    return F.avg_pool2d(F.pad(frames, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def scramble(
    frames: Frames, others: Frames, strangers: Frames, share: float = 0.6, faults: Sequence[Fault] = ()
) -> Frames:
    """Spoil a ``share`` of the frames by one or two of ``faults`` (all, when none is named), from hardly to badly.

    ``others`` are the same people in other poses.
    """
    faults = faults or FAULTS
    spoilt = frames.clone()
    for index in (torch.rand(len(frames)) < share).nonzero()[:, 0].tolist():
        chosen = slice(index, index + 1)
        for _ in range(1 + int(torch.rand(()) < 0.2)):
            fault = faults[int(torch.randint(len(faults), ()))]
            spoilt[chosen] = fault(spoilt[chosen], others[chosen], strangers[chosen])
    return spoilt.clamp(0, 1)


def _ghost(frame: Frames, other: Frames, stranger: Frames) -> Frames:  # noqa: ARG001
    """Two poses at once, or a shifted copy."""
    if torch.rand(()) < 0.5:
        other = _shifted(other, 12)
    return frame.lerp(other, _within(0.2, 0.5) * (_blob() if torch.rand(()) < 0.5 else 1.0))


def _swap(frame: Frames, other: Frames, stranger: Frames) -> Frames:
    """Cells of another frame or another person."""
    source = stranger if torch.rand(()) < 0.5 else _shifted(other, 8)
    return frame.lerp(source, _within(0.4, 1.0) * (_patch() if torch.rand(()) < 0.5 else _cells()))


def _double(frame: Frames, other: Frames, stranger: Frames) -> Frames:  # noqa: ARG001
    """Features twice: a patch of the frame again beside itself."""
    return frame.lerp(_shifted(frame, 24), _within(0.5, 1.0) * _patch())


def _tear(frame: Frames, other: Frames, stranger: Frames) -> Frames:  # noqa: ARG001
    """Two halves that do not meet."""
    edge, axis = int(torch.randint(32, 97, ())), int(torch.randint(2, 4, ()))
    torn = frame.clone()
    torn.narrow(axis, edge, SIDE - edge).copy_(_shifted(other, 12).narrow(axis, edge, SIDE - edge))
    return torn


def _warp(frame: Frames, other: Frames, stranger: Frames) -> Frames:  # noqa: ARG001
    """Lines that wobble."""
    knots = int(torch.randint(8, 25, ()))
    field = F.interpolate(torch.randn(1, 2, knots, knots), size=SIDE, mode="bicubic") * _within(0.5, 5.0) * 2 / SIDE
    steps = torch.linspace(-1 + 1 / SIDE, 1 - 1 / SIDE, SIDE)
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), dim=-1)[None]
    moved = grid + (field * _blob()).movedim(1, -1)
    return F.grid_sample(frame, moved, padding_mode="border", align_corners=False)


def _smear(frame: Frames, other: Frames, stranger: Frames) -> Frames:  # noqa: ARG001
    """A part rubbed out, sideways, upwards or all around."""
    reach = 2 * int(torch.randint(2, 8, ())) + 1
    height, width = [(reach, reach), (1, 2 * reach + 1), (2 * reach + 1, 1)][int(torch.randint(3, ()))]
    padded = F.pad(frame, (width // 2, width // 2, height // 2, height // 2), mode="replicate")
    return frame.lerp(F.avg_pool2d(padded, (height, width), stride=1), _patch() if torch.rand(()) < 0.5 else _blob())


def _tint(frame: Frames, other: Frames, stranger: Frames) -> Frames:  # noqa: ARG001
    """Broken colour in a part."""
    mixed = frame[:, torch.randperm(3)] * _within(0.4, 1.4) + 0.3 * torch.randn(1, 3, 1, 1)
    return frame.lerp(mixed, _within(0.2, 1.0) * (_patch() if torch.rand(()) < 0.5 else _cells()))


def _checker(frame: Frames, other: Frames, stranger: Frames) -> Frames:  # noqa: ARG001
    """Noise in the grain of latent cells."""
    grain = [2, 4, 8][int(torch.randint(3, ()))]
    noise = F.interpolate(torch.randn(1, 3, SIDE // grain, SIDE // grain), size=SIDE, mode="nearest")
    return frame + _within(0.03, 0.3) * noise * (_blob() if torch.rand(()) < 0.5 else _cells())


def _erase(frame: Frames, other: Frames, stranger: Frames) -> Frames:  # noqa: ARG001
    """Something missing: a small ellipse in the colours around it."""
    down, right = 50 + 14 * torch.randn(()), SIDE / 2 + 14 * torch.randn(())
    steps = torch.arange(SIDE)
    height, width = _within(5, 14), _within(5, 18)
    reach = ((steps[:, None] - down) / height).square() + ((steps[None] - right) / width).square()
    ring = ((reach > 1) & (reach < 2.2)).float()
    colour = (frame * ring).sum(dim=(2, 3), keepdim=True) / ring.sum().clamp(min=1)
    return frame.lerp(colour, (2.5 * (1.3 - reach)).clamp(0, 1))


FAULTS: tuple[Fault, ...] = (
    _ghost,
    _swap,
    _double,
    _tear,
    _warp,
    _smear,
    _tint,
    _checker,
    _erase,
)


def _within(low: float, high: float) -> float:
    return low + (high - low) * torch.rand(()).item()


def _side() -> int:
    return int(torch.randint(72, SIDE, ()))


def _shifted(frame: Frames, most: int, least: int = 4) -> Frames:
    """Moved in any direction by ``least`` to ``most`` pixels."""
    angle, reach = _within(0, 2 * math.pi), _within(least, most)
    return frame.roll((round(reach * math.sin(angle)), round(reach * math.cos(angle))), dims=(2, 3))


def _patch() -> Mask:
    """A rectangle of 8 to 56 pixels a side, anywhere."""
    height, width = torch.randint(8, 57, (2,)).tolist()
    top, left = int(torch.randint(SIDE - height // 2, ())), int(torch.randint(SIDE - width // 2, ()))
    mask = torch.zeros(1, 1, SIDE, SIDE)
    mask[:, :, top : top + height, left : left + width] = 1
    return mask


def _cells() -> Mask:
    """Single cells here and there."""
    chosen = (torch.rand(1, 1, SIDE // CELL, SIDE // CELL) < _within(0.01, 0.25)).float()
    return F.interpolate(chosen, size=SIDE, mode="nearest")


def _blob() -> Mask:
    """A soft spot."""
    across, down = (torch.randn(2) * 20 + SIDE / 2).tolist()
    steps = torch.arange(SIDE)
    distance = (steps - across).square()[None, :] + (steps - down).square()[:, None]
    return torch.exp(-distance / (2 * _within(6, 40) ** 2))[None, None]


def squeeze(frame: Float[Tensor, "3 128 128"], quality: int) -> Float[Tensor, "3 128 128"]:
    """Through JPEG and back."""
    buffer = io.BytesIO()
    pixels = (frame * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    decoded = torch.from_numpy(numpy.array(Image.open(buffer)))
    return decoded.permute(2, 0, 1).float() / 255
