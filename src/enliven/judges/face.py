"""What a drawn face does, and whose it is."""

from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from enliven.judges.judge import load_network, look, weights_path
from enliven.judges.trunk import INNER, Trunk

HEAD = (slice(8, 104), slice(16, 112))  # rows and columns of 128 that hold the head in every framing
IDENTITY = 64  # numbers in an embedding

# What is read, each with its usual spread: the networks learn values of about the same size.
READINGS = {
    "mouth_open": 0.3,
    "mouth_width": 0.2,
    "mouth_round": 0.3,
    "yaw": 0.04,
    "pitch": 0.03,
    "roll": 0.025,
    "shift_x": 0.005,
    "shift_y": 0.003,
    "blink": 0.4,
}
SPREAD = torch.tensor(list(READINGS.values()))
SHARES = ("mouth_open", "mouth_width", "mouth_round", "blink")  # lie in 0..1 by definition


class FaceNetwork(nn.Module):
    """Readings from where features are, identity from what they are."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.place = nn.Conv2d(INNER, 16, 1)
        self.read = nn.Sequential(nn.Linear(16 * 36, 128), nn.SiLU(), nn.Linear(128, len(READINGS)))
        self.identify = nn.Sequential(nn.Linear(2 * INNER, 128), nn.SiLU(), nn.Linear(128, IDENTITY))

    def forward(
        self, pixels: Float[Tensor, "b 3 128 128"]
    ) -> tuple[Float[Tensor, "b readings"], Float[Tensor, "b identity"]]:
        """Readings in the order of ``READINGS``, in units of their spread, and an embedding of length 1."""
        _, _, inner = self.trunk(pixels[:, :, *HEAD])
        readings = self.read(self.place(inner).flatten(1))
        pooled = torch.cat([inner.mean(dim=(2, 3)), inner.amax(dim=(2, 3))], dim=1)
        return readings, F.normalize(self.identify(pooled).float(), dim=1)


class FaceJudge:
    """Reads mouth, head pose, eyelids and identity from pixels.

    The verdict holds ``mouth_open``, ``mouth_width``, ``mouth_round``, ``blink`` (0..1), ``yaw``, ``pitch``, ``roll``
    (radians), ``shift_x``, ``shift_y`` (frame heights), all ``[f]``, and ``identity`` ``[f, 64]``, whose dot products
    are cosine similarities.
    """

    name = "toon-face"

    def __init__(self, path: Path | None = None) -> None:
        self.network = load_network(FaceNetwork(), path or weights_path(self.name))

    def __call__(self, frames: UInt8[Tensor, "f 3 h w"]) -> dict[str, Tensor]:
        """The verdict on each frame."""
        scaled, identity = look(self.network, frames)
        values = dict(zip(READINGS, (scaled * SPREAD).unbind(dim=1), strict=True))
        return {name: v.clamp(0, 1) if name in SHARES else v for name, v in values.items()} | {"identity": identity}


def similarity(identity: Float[Tensor, "*f identity"], other: Float[Tensor, "identity"]) -> Float[Tensor, "*f"]:
    """How alike two people are: 1 for the same, about 0 for strangers."""
    return identity @ other
