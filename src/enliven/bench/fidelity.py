"""How faithfully frames are shown: signal-to-noise ratio, structural similarity, how differently they look, seams."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from enliven.bench.cases import Case
from enliven.train.evae import perceived_distance

Frames = UInt8[Tensor, "f 3 h w"]
SIDE, SIGMA = 11, 1.5  # of the window of structural similarity, in pixels
CONSTANTS = (0.01**2, 0.03**2)
SEAMS_EVERY = 5  # frames: neighbours in time have the same seams
GREY = (0.299, 0.587, 0.114)


def psnr(shown: Frames, meant: Frames) -> float:
    """The mean over frames of the peak signal-to-noise ratio in decibels; infinite where a frame is exact."""
    error = (shown.float() - meant.float()).square().mean(dim=(1, 2, 3)) / 255**2
    return (-10 * error.log10()).mean().item()


def ssim(shown: Frames, meant: Frames) -> float:
    """The mean structural similarity of grey pictures (Wang et al. 2004): Gaussian windows that lie inside."""
    one, other = _grey(shown), _grey(meant)
    stacked = torch.cat([one, other, one * one, other * other, one * other], dim=1)
    m1, m2, s11, s22, s12 = _windows(stacked).unbind(dim=1)
    c1, c2 = CONSTANTS
    structure = (2 * (s12 - m1 * m2) + c2) / (s11 - m1 * m1 + s22 - m2 * m2 + c2)
    return (structure * (2 * m1 * m2 + c1) / (m1 * m1 + m2 * m2 + c1)).mean().item()


def seams(frames: Frames, side: int) -> float:
    """The mean step from pixel to pixel across edges of patches of ``side`` pixels, over the mean step elsewhere."""
    at_edges, elsewhere = list[Tensor](), list[Tensor]()
    for axis in (2, 3):
        steps = frames.float().diff(dim=axis).abs().mean(dim=(0, 1, 5 - axis))
        edge = torch.arange(1, len(steps) + 1) % side == 0
        at_edges.append(steps[edge])
        elsewhere.append(steps[~edge])
    return (torch.cat(at_edges).mean() / torch.cat(elsewhere).mean()).item()


def seams_over_truth(case: Case, made: Frames, side: int) -> float:
    """The ``seams`` of the video of a case over those of its true drawing."""
    some, (height, width) = slice(None, None, SEAMS_EVERY), made.shape[2:]
    return seams(made[some], side) / seams(case.drawn(some, (height, width)), side)


@torch.no_grad()
def seen_distance(eyes: nn.Module, shown: Frames, meant: Frames) -> float:
    """``perceived_distance`` of frames, in the eyes of a judge: 0 for what looks the same."""
    videos = [(frames.float() / 127.5 - 1).transpose(0, 1)[None] for frames in (shown, meant)]
    return perceived_distance(eyes, *videos).item()


def _grey(frames: Frames) -> Float[Tensor, "f 1 h w"]:
    weights = torch.tensor(GREY, dtype=torch.float64)[:, None, None]
    return (frames.double() / 255 * weights).sum(dim=1, keepdim=True)


def _windows(maps: Float[Tensor, "f c h w"]) -> Float[Tensor, "f c h2 w2"]:
    """The weighted mean around each pixel that has a whole window around it."""
    offsets = torch.arange(SIDE, dtype=maps.dtype) - SIDE // 2
    line = torch.exp(-offsets.square() / (2 * SIGMA**2))
    line = line / line.sum()
    flat = maps.flatten(0, 1)[:, None]
    flat = F.conv2d(F.conv2d(flat, line[None, None, :, None]), line[None, None, None, :])
    return flat[:, 0].unflatten(0, maps.shape[:2])
