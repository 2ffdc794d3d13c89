"""How much a person moves besides the mouth."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from enliven.judges.judge import SIDE
from enliven.media.image import fit_frames

HEAD_RADIUS = 36  # pixels of 128
FACE_FRONT = 28  # pixels that the face's features move for one radian of yaw or pitch
MOUTH = (slice(64, 116), slice(32, 96))  # rows and columns of 128: mouth, jaw and the shadow under it
CALM = 7  # frames of the moving average that takes out the judge's own trembling
STEP = 5  # frames between two pictures that are compared


def head_motion(verdict: Mapping[str, Float[Tensor, "f *rest"]]) -> float:
    """How far the head wanders from its mean place: root mean square, in pixels of a 128-pixel frame.

    ``verdict`` is a face judge's; shift, turn, nod and tilt count as the pixels that they move the face by.
    """
    across = SIDE * verdict["shift_x"] + FACE_FRONT * verdict["yaw"]
    down = SIDE * verdict["shift_y"] + FACE_FRONT * verdict["pitch"]
    places = torch.stack([across, down, HEAD_RADIUS * verdict["roll"]])
    if places.shape[1] >= CALM:
        places = F.avg_pool1d(places, CALM, stride=1)
    return (places - places.mean(dim=1, keepdim=True)).square().sum(dim=0).mean().sqrt().item()


def body_motion(frames: UInt8[Tensor, "f 3 h w"]) -> float:
    """Mean absolute change outside the mouth within a fifth of a second (at 25 fps), in pixel values of 0..255.

    Changes of single pixels, such as noise, are averaged away over 4 x 4 before.
    """
    if len(frames) <= STEP:
        return 0.0
    total, earlier = 0.0, None
    for batch in frames.split(64):
        coarse = F.avg_pool2d(fit_frames(batch, SIDE, SIDE).float(), 4)
        seen = coarse if earlier is None else torch.cat([earlier, coarse])
        change = (seen[STEP:] - seen[:-STEP]).abs().mean(dim=1)
        change[:, MOUTH[0].start // 4 : MOUTH[0].stop // 4, MOUTH[1].start // 4 : MOUTH[1].stop // 4] = 0
        total += change.mean(dim=(1, 2)).sum().item()
        earlier = seen[-STEP:]
    outside = 1 - (MOUTH[0].stop - MOUTH[0].start) * (MOUTH[1].stop - MOUTH[1].start) / SIDE**2
    return total / (len(frames) - STEP) / outside
