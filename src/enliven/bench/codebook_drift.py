"""How a long video drifts: every clip of it compared with the first one."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from enliven.judges.face import FaceJudge, similarity


@dataclass(frozen=True, slots=True)
class Drift:
    """How the clips of a video compare with its first one, clip by clip.

    ``colour`` and ``contrast`` are distances of the means and of the standard deviations of red, green and blue, in
    levels of 255; ``sharpness`` is a ratio of mean gradients, ``identity`` a cosine. ``clipped`` is the share of the
    vectors handed on that the codebook moved, or would have moved: the last clip hands on none, and nothing is told
    where there is no codebook.
    """

    colour: Float[Tensor, "clips"]
    contrast: Float[Tensor, "clips"]
    sharpness: Float[Tensor, "clips"]
    identity: Float[Tensor, "clips"]
    clipped: Float[Tensor, "told"]


def measure_drift(
    frames: UInt8[Tensor, "f 3 h w"], clips: Sequence[range], face: FaceJudge, clipped: Sequence[float] = ()
) -> Drift:
    """The drift of a video whose clips are those frames."""
    rows = [_looks(frames[clip.start : clip.stop], face) for clip in clips]
    colour, contrast, sharpness, identity = (torch.stack(column) for column in zip(*rows, strict=True))
    return Drift(
        (colour - colour[0]).norm(dim=1),
        (contrast - contrast[0]).norm(dim=1),
        sharpness / sharpness[0].clamp(min=1e-6),
        similarity(identity, identity[0]),
        torch.tensor(clipped),
    )


def _looks(frames: UInt8[Tensor, "f 3 h w"], face: FaceJudge) -> tuple[Tensor, ...]:
    """Mean colour, standard deviation of colours, mean gradient, and who is seen."""
    pixels = frames.float()
    gradient = pixels.diff(dim=2).abs().mean() + pixels.diff(dim=3).abs().mean()
    who = F.normalize(face(frames)["identity"].mean(dim=0), dim=0)
    return pixels.mean(dim=(0, 2, 3)), pixels.std(dim=(0, 2, 3)), gradient, who
