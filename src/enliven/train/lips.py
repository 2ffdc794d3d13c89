"""Lips in latents: a small network reads the mouth, and what it reads off the backbone's guess must be the truth.

Squared errors of latents hardly see a mouth that opens by a pixel: whether it is drawn at all costs next to nothing. A
reader of latents sees it, and says so to the backbone, as an expert of lip sync does in other work on talking faces.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from enliven.data.encoded import load_encoded
from enliven.data.failures import CAPTIONS
from enliven.errors import ConfigError
from enliven.models.mouth import MOUTH
from enliven.train.flow import FlowObjective

LIPS = "lips.safetensors"  # in the folder of a recipe
FRAMES = 4  # video frames of a latent frame
BLUR = 0.3  # the highest noise level on what the reader learns from: guesses are never perfect


class LipReader(nn.Module):
    """Finds the mouth among the cells of each latent frame, and reads what it does in the video frames of it."""

    def __init__(self, channels: int, width: int = 64) -> None:
        super().__init__()
        self.cells = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
        )
        self.place = nn.Conv2d(width, 1, 1)
        self.mouth = nn.Linear(width, FRAMES * len(MOUTH))

    def forward(self, latents: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b t 4 5"]:
        """The five parameters of the mouth in 0..1 (see ``MOUTH``)."""
        cells = self.cells(latents.transpose(1, 2).flatten(0, 1))
        here = self.place(cells).flatten(1).softmax(dim=1)
        seen = torch.einsum("ncp,np->nc", cells.flatten(2), here)
        read: Tensor = self.mouth(seen).sigmoid()
        return read.reshape(latents.shape[0], latents.shape[2], FRAMES, len(MOUTH))

    def save(self, path: Path) -> None:
        """Write ``path`` (.safetensors)."""
        save_file({name: value.detach().contiguous() for name, value in self.state_dict().items()}, path)

    @classmethod
    def load(cls, path: Path) -> "LipReader":
        """Read what ``save`` wrote, frozen. Raises ConfigError where there is none."""
        try:
            state = load_file(path)
        except (OSError, SafetensorError) as error:
            raise ConfigError(
                f"cannot read {path}: {error}", hint="run the stage lips first, or set lip_weight = 0"
            ) from error
        width, channels = state["cells.0.weight"].shape[:2]
        reader = cls(channels, width)
        reader.load_state_dict(state)
        return reader.requires_grad_(requires_grad=False)


class ReadingLips:
    """The squared error of what the reader reads off true latents."""

    def __init__(self, reader: LipReader) -> None:
        self.reader = reader
        self.networks: Mapping[str, nn.Module] = {"lips": reader}

    def losses(self, batch: Mapping[str, Any], step: int) -> dict[str, Tensor]:  # noqa: ARG002
        """``batch``: ``latents`` [b, c, t, h, w] and ``mouth`` [b, t, 4, 5]."""
        latents = batch["latents"]
        level = BLUR * torch.rand(len(latents), 1, 1, 1, 1).to(latents.device)
        return {"mouth": F.mse_loss(self.reader(latents.lerp(torch.randn_like(latents), level)), batch["mouth"])}


class LipFlow(FlowObjective):
    """Flow matching in which the reader must read the same off guess and truth, where one person is heard."""

    def __init__(
        self, backbone: nn.Module, reader: LipReader, *, lip_weight: float = 1.0, moving_weight: float = 3.0
    ) -> None:
        super().__init__(backbone, moving_weight=moving_weight)
        self.reader, self.lip_weight = reader, lip_weight
        self.frozen: Mapping[str, nn.Module] = {"lips": reader}

    def losses(self, batch: Mapping[str, Any], step: int) -> dict[str, Tensor]:  # noqa: ARG002
        """``batch`` as in ``FlowObjective``. Who hears nothing cannot know what the mouth does."""
        attempt, voices = self.attempt(batch), batch["cond"].audio
        heard = voices.flatten(1).any(dim=1) & (voices.shape[1] == 1)
        error = (self.reader(attempt.guess.float()) - self.reader(attempt.truth)).square().mean(dim=(1, 2, 3))
        return {"flow": self.flow(attempt), "lips": self.lip_weight * (heard * error).mean()}


def lip_batches(folder: Path, batch: int) -> Iterator[Mapping[str, Any]]:
    """Clips without end in which one person is heard, and what the mouth does; failures are left out.

    Raises ConfigError where there are none.
    """
    paths = [path for path in sorted(folder.glob("*.safetensors")) if _speaks(path)]
    if not paths:
        raise ConfigError(f"nobody speaks in the clips of {folder}", hint="encode some clips with sound first")
    while True:
        yield _batch([paths[int(pick)] for pick in torch.randint(len(paths), (batch,))])


def _speaks(path: Path) -> bool:
    with safe_open(path, "pt") as stored:
        return stored.metadata()["caption"] not in CAPTIONS and bool(stored.get_tensor("mouth").any())


def _batch(paths: Sequence[Path]) -> Mapping[str, Any]:
    """The first latent frame is of a single video frame, and is left out."""
    clips = [load_encoded(path) for path in paths]
    latents = torch.stack([clip.latents[:, 1:] for clip in clips]).float()
    mouths = torch.stack([clip.mouth[0, 1:] for clip in clips]).float()
    return {"latents": latents, "mouth": mouths.unflatten(1, (latents.shape[2], FRAMES))}
