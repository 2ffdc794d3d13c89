"""Clean drawing or scrambled: is a frame what was meant to be drawn?

*Scrambled* has a measure. The distance of a cell of 8 x 8 pixels is its mean absolute difference to the frame that was
meant (pixels in 0..1), both seen softly and moved against each other by at most two pixels, so that softness and a
slightly other pose count for little; dots and stripes that were not meant come on top. The damage of a region is the
mean of its three worst cells: ``CLEAN`` or less is a clean drawing, ``SCRAMBLED`` or more is not, and what lies between
is undecided: nobody learns from it or is asked. A picture that is evenly soft, noisy or tinted as a whole is still
clean.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from enliven.judges.judge import load_network, look, weights_path
from enliven.judges.trunk import INNER, MIDDLE, Block, Trunk, convolution

CELL = 8  # pixels
FACE = (slice(2, 13), slice(3, 13))  # rows and columns of 16 x 16 cells that hold the face
FRAME = (slice(None), slice(None))
WORST = 3  # cells that make the damage of a region
CLEAN, SCRAMBLED = 0.025, 0.065
UNDECIDED = 0.5
MARKS = 32  # kinds of faults looked for in a cell


class QualityNetwork(nn.Module):
    """Logits, positive where something is scrambled: of each cell of 8 x 8 pixels, of the face, and of the frame."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk(fine=True)
        self.around = convolution(INNER, MIDDLE)
        self.join = nn.Sequential(Block(MIDDLE), convolution(MIDDLE, MARKS, kernel=1))
        self.score = nn.Conv2d(MARKS, 1, 1)
        self.face = nn.Linear(2 * MARKS, 1)
        self.frame = nn.Linear(2 * MARKS, 1)

    def forward(self, pixels: Float[Tensor, "b 3 128 128"]) -> tuple[Float[Tensor, "b 16 16"], Float[Tensor, "b 2"]]:
        """Logits of the cells, and of face and frame."""
        _, middle, inner = self.trunk(pixels)
        marks = self.join(middle + F.interpolate(self.around(inner), scale_factor=2, mode="nearest"))
        verdicts = [self.face(_gathered(marks[:, :, *FACE])), self.frame(_gathered(marks))]
        return self.score(marks)[:, 0], torch.cat(verdicts, dim=1)


class QualityJudge:
    """Tells clean drawings from scrambled ones.

    The verdict holds ``clean_face`` and ``clean_frame`` ``[f]``, probabilities that the region is a clean drawing, and
    ``scrambled`` ``[f, 16, 16]``, the probability of each cell. Above 0.5 a frame is judged clean.
    """

    name = "toon-quality"

    def __init__(self, path: Path | None = None) -> None:
        self.network = load_network(QualityNetwork(), path or weights_path(self.name))

    def __call__(self, frames: UInt8[Tensor, "f 3 h w"]) -> dict[str, Tensor]:
        """The verdict on each frame."""
        cells, verdicts = look(self.network, frames)
        face, frame = (-verdicts).sigmoid().unbind(dim=1)
        return {"clean_face": face, "clean_frame": frame, "scrambled": cells.sigmoid()}


def distance(shown: Float[Tensor, "b 3 128 128"], meant: Float[Tensor, "b 3 128 128"]) -> Float[Tensor, "b 16 16"]:
    """How far each cell is from the frame that was meant, at the best of nine places, and how much rougher it is."""
    return _elsewhere(_soft(shown), _soft(meant)) + _rougher(shown, meant)


def damage(distances: Float[Tensor, "b 16 16"]) -> Float[Tensor, "b 2"]:
    """Of face and frame: the mean of the worst cells."""
    regions = [distances[:, *region].flatten(1) for region in (FACE, FRAME)]
    return torch.stack([cells.topk(WORST, dim=1).values.mean(dim=1) for cells in regions], dim=1)


def truth(harm: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """0 for a clean drawing, 1 for a scrambled one, ``UNDECIDED`` between."""
    return torch.where(harm <= CLEAN, 0.0, torch.where(harm >= SCRAMBLED, 1.0, UNDECIDED))


def scrambling(distances: Float[Tensor, "b 16 16"]) -> Float[Tensor, "b 16 16"]:
    """How scrambled each cell is, 0..1."""
    return ((distances - CLEAN) / (SCRAMBLED - CLEAN)).clamp(0, 1)


def _elsewhere(shown: Float[Tensor, "b 3 64 64"], meant: Float[Tensor, "b 3 64 64"]) -> Float[Tensor, "b 16 16"]:
    side = shown.shape[-1]
    around = F.pad(meant, (1, 1, 1, 1), mode="replicate")
    places = [around[:, :, y : y + side, x : x + side] for y in range(3) for x in range(3)]
    distances = [F.avg_pool2d((shown - place).abs().mean(dim=1, keepdim=True), CELL // 2)[:, 0] for place in places]
    return torch.stack(distances).amin(dim=0)


def _rougher(shown: Float[Tensor, "b 3 128 128"], meant: Float[Tensor, "b 3 128 128"]) -> Float[Tensor, "b 16 16"]:
    """Dots and stripes that were not meant; a cell may be as rough as the roughest around it was to be."""
    allowed = F.max_pool2d(_roughness(meant)[:, None], 3, stride=1, padding=1)[:, 0]
    return (_roughness(shown) - allowed).clamp(min=0)


def _roughness(pixels: Float[Tensor, "b 3 128 128"]) -> Float[Tensor, "b 16 16"]:
    """What a blur of 3 x 3 pixels takes away."""
    blurred = F.avg_pool2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return F.avg_pool2d((pixels - blurred).abs().mean(dim=1, keepdim=True), CELL)[:, 0]


def _soft(pixels: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h2 w2"]:
    """Blurred, at half the size."""
    return F.avg_pool2d(F.pad(pixels, (2, 2, 2, 2), mode="replicate"), 5, stride=2)


def _gathered(marks: Float[Tensor, "b marks h w"]) -> Float[Tensor, "b twice"]:
    return torch.cat([marks.amax(dim=(2, 3)), marks.mean(dim=(2, 3))], dim=1)
