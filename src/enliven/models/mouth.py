"""The mouth that belongs to a sound, read off the features of the toon audio encoder."""

from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from enliven.errors import WeightsError
from enliven.toonworld.visemes import SOUND_CLASSES
from enliven.toonworld.voice import Mouth

MOUTH = ("open", "width", "round", "teeth", "tongue")


class MouthFromSpeech(nn.Module):
    """Linear heads, one for each encoder layer: mouth parameters, sound class, voice activity."""

    def __init__(self, layers: int, channels: int) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(channels, len(MOUTH) + len(SOUND_CLASSES) + 1) for _ in range(layers))

    def forward(
        self, features: Float[Tensor, "*b layers c"]
    ) -> tuple[Float[Tensor, "*b layers 5"], Float[Tensor, "*b layers classes"], Float[Tensor, "*b layers"]]:
        """Mouth parameters in 0..1, logits of the sound classes and of voice activity, from each layer."""
        read = torch.stack([head(features[..., index, :]) for index, head in enumerate(self.heads)], dim=-2)
        mouth, sound, voice = read.split([len(MOUTH), len(SOUND_CLASSES), 1], dim=-1)
        return mouth.sigmoid(), sound, voice[..., 0]

    @torch.no_grad()
    def mouth(self, features: Float[Tensor, "f layers c"]) -> Mouth:
        """What the last layer says the mouth does in each frame."""
        return Mouth(*self(features)[0][:, -1].unbind(dim=-1))

    def save(self, path: Path) -> None:
        """Write ``path`` (.safetensors)."""
        save_file({name: value.detach().contiguous() for name, value in self.state_dict().items()}, path)

    @classmethod
    def load(cls, path: Path) -> "MouthFromSpeech":
        """Read what ``save`` wrote; WeightsError when the file is missing, broken or of another network."""
        try:
            state = load_file(path)
            heads = cls(len(state) // 2, state["heads.0.weight"].shape[1])
            heads.load_state_dict(state)
        except (OSError, SafetensorError, KeyError, RuntimeError) as error:
            raise WeightsError(f"cannot read mouth heads from {path}: {error}", hint="restore the file") from error
        return heads.eval()
