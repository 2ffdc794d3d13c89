"""Signed distances to soft shapes: negative inside, in the unit of their coordinates.

Coordinates ``u`` (right) and ``v`` (down) are tensors that broadcast against each other and against sizes given per
frame as ``[f, 1, 1]``. Distances are exact near the outline, which is all that anti-aliasing looks at.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

Field = Float[Tensor, "..."]
Size = float | Field


def ellipse(u: Field, v: Field, width: Size, height: Size) -> Field:
    """Ellipse around the origin with half axes ``width`` and ``height``."""
    across, down = u / width, v / height
    radius = torch.sqrt(across * across + down * down + 1e-8)
    slope = torch.sqrt((across / width) ** 2 + (down / height) ** 2 + 1e-8)
    return radius * (radius - 1) / slope


def circle(u: Field, v: Field, radius: Size) -> Field:
    """Circle around the origin."""
    return torch.sqrt(u * u + v * v + 1e-8) - radius


def box(u: Field, v: Field, width: Size, height: Size, corner: float = 0.0) -> Field:
    """Rectangle around the origin with half sides ``width`` and ``height`` and corners of radius ``corner``."""
    across, down = u.abs() - (width - corner), v.abs() - (height - corner)
    outside = torch.sqrt(across.clamp(min=0) ** 2 + down.clamp(min=0) ** 2 + 1e-10)
    return outside + torch.maximum(across, down).clamp(max=0) - corner


def segment(u: Field, v: Field, start: tuple[float, float], end: tuple[float, float], radius: float) -> Field:
    """Line from ``start`` to ``end``, drawn with a round pen of ``radius``."""
    along, down = end[0] - start[0], end[1] - start[1]
    ratio = (((u - start[0]) * along + (v - start[1]) * down) / (along * along + down * down)).clamp(0, 1)
    return circle(u - start[0] - ratio * along, v - start[1] - ratio * down, radius)


def bow(u: Field, v: Field, half: Size, rise: Size, radius: Size) -> Field:
    """Arc from (-half, 0) over (0, -rise) to (half, 0), drawn with a round pen of ``radius``."""
    inner = torch.minimum(torch.maximum(u, -_as(u, half)), _as(u, half))
    height = v + rise * (1 - (inner / half) ** 2)
    tilt = torch.sqrt(1 + (2 * rise * inner / (half * half)) ** 2)
    return torch.sqrt((u - inner) ** 2 + (height / tilt) ** 2 + 1e-8) - radius


def star(u: Field, v: Field, radius: float, points: int = 5, depth: float = 0.45) -> Field:
    """Star with rounded points; ``depth`` is the share of the radius its valleys take away."""
    turn = torch.cos(points * torch.atan2(u, -v))
    return torch.sqrt(u * u + v * v + 1e-8) - radius * (1 - depth / 2 + depth / 2 * turn)


def heart(u: Field, v: Field, radius: float) -> Field:
    """Heart about ``radius`` wide to each side."""
    across = u.abs()
    lobes = circle(across - 0.45 * radius, v + 0.25 * radius, 0.55 * radius)
    slope = (across + v - 0.98 * radius) / math.sqrt(2)
    return torch.minimum(lobes, torch.maximum(slope, -v - 0.1 * radius))


def join(first: Field, second: Field, blend: float = 0.0) -> Field:
    """Union of two shapes, their meeting rounded over about ``blend``."""
    if not blend:
        return torch.minimum(first, second)
    overlap = (blend - (first - second).abs()).clamp(min=0)
    return torch.minimum(first, second) - overlap * overlap / (4 * blend)


def cut(shape: Field, hole: Field, blend: float = 0.0) -> Field:
    """``shape`` without ``hole``, the new edge rounded over about ``blend``."""
    return -join(-shape, hole, blend)


def both(first: Field, second: Field, blend: float = 0.0) -> Field:
    """Intersection of two shapes."""
    return -join(-first, -second, blend)


def _as(field: Tensor, size: Size) -> Tensor:
    return size if isinstance(size, Tensor) else field.new_tensor(size)
