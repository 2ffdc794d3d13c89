"""What pictures look like to a network that knows photographs: VGG, as LPIPS uses it."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from enliven.models.weights import load_weights

WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the pictures that it has learnt from, in 0..1
USED = "features."  # before the names of its convolutions; what classifies is not needed


class PhotoEyes(nn.Module):
    """The convolutions of VGG-16: five views of a picture, from its full size to a sixteenth.

    See ``perceived_distance``, which needs no weights of its own: LPIPS without its linear layers.
    """

    mean: Tensor
    spread: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before, self.views = 3, list[int]()
        for widths in WIDTHS:
            layers += [nn.MaxPool2d(2)] if layers else []
            for width in widths:
                layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
                before = width
            self.views.append(len(layers) - 1)
        self.features = nn.Sequential(*layers)
        for name, values in (("mean", MEAN), ("spread", SPREAD)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, pixels: Float[Tensor, "n 3 h w"]) -> list[Float[Tensor, "n _ _ _"]]:
        """The views of pictures in -1..1, finest first."""
        seen, found = ((pixels + 1) / 2 - self.mean) / self.spread, []
        for index, layer in enumerate(self.features):
            seen = layer(seen)
            if index in self.views:
                found.append(seen)
        return found


def open_eyes(folder: Path) -> PhotoEyes:
    """VGG-16 with the weights in ``folder``, under the names that torchvision and timm give. Raises WeightsError."""
    return load_weights(PhotoEyes, folder, rename=lambda name: name if name.startswith(USED) else None)
