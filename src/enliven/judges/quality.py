"""Clean drawing or scrambled: a map of where a frame is not what was meant to be drawn.

*Scrambled* has a measure: a cell of 8 x 8 pixels counts as fully scrambled when it differs from the frame that was
meant by ``SCRAMBLED`` or more (mean absolute difference, pixels in 0..1), and as clean at ``CLEAN`` or less. A picture
that is evenly soft, noisy or tinted as a whole is still clean. A region is as good as its worst cell.
"""

from pathlib import Path

import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from enliven.judges.judge import load_network, look, weights_path
from enliven.judges.trunk import INNER, MIDDLE, Block, Trunk, convolution

CELL = 8  # pixels
FACE = (slice(2, 13), slice(3, 13))  # rows and columns of 16 x 16 cells that hold the face
CLEAN, SCRAMBLED = 0.03, 0.08


class QualityNetwork(nn.Module):
    """One logit for each cell of 8 x 8 pixels; positive where it is scrambled."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.around = convolution(INNER, MIDDLE)
        self.join = Block(MIDDLE)
        self.score = nn.Conv2d(MIDDLE, 1, 1)

    def forward(self, pixels: Float[Tensor, "b 3 128 128"]) -> tuple[Float[Tensor, "b 16 16"]]:
        """Logits of the cells."""
        _, middle, inner = self.trunk(pixels)
        joined = self.join(middle + F.interpolate(self.around(inner), scale_factor=2, mode="nearest"))
        return (self.score(joined)[:, 0],)


class QualityJudge:
    """Tells clean drawings from scrambled ones.

    The verdict holds ``clean_face`` and ``clean_frame`` ``[f]``, probabilities that no cell there is scrambled, and
    ``scrambled`` ``[f, 16, 16]``, the probability of each cell. Above 0.5 a frame is judged clean.
    """

    name = "toon-quality"

    def __init__(self, path: Path | None = None) -> None:
        self.network = load_network(QualityNetwork(), path or weights_path(self.name))

    def __call__(self, frames: UInt8[Tensor, "f 3 h w"]) -> dict[str, Tensor]:
        """The verdict on each frame."""
        (logits,) = look(self.network, frames)
        return {
            "clean_face": (-worst_face(logits)).sigmoid(),
            "clean_frame": (-worst(logits)).sigmoid(),
            "scrambled": logits.sigmoid(),
        }


def scrambling(drawn: Float[Tensor, "b 3 128 128"], meant: Float[Tensor, "b 3 128 128"]) -> Float[Tensor, "b 16 16"]:
    """How scrambled each cell is, 0..1, by its distance to the frame that was meant; pixels in 0..1."""
    distance = F.avg_pool2d((drawn - meant).abs().mean(dim=1, keepdim=True), CELL)[:, 0]
    return ((distance - CLEAN) / (SCRAMBLED - CLEAN)).clamp(0, 1)


def worst(cells: Float[Tensor, "b 16 16"]) -> Float[Tensor, "b"]:
    """The worst cell of the whole frame."""
    return cells.amax(dim=(1, 2))


def worst_face(cells: Float[Tensor, "b 16 16"]) -> Float[Tensor, "b"]:
    """The worst cell of the face."""
    return cells[:, *FACE].amax(dim=(1, 2))
