"""The convolutions that judges share in kind, not in weights."""

from jaxtyping import Float
from torch import Tensor, nn

OUTER, MIDDLE, INNER = 32, 64, 128


class Block(nn.Module):
    """Two 3 x 3 convolutions added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = convolution(width, width)
        self.second = convolution(width, width)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The same shape."""
        return x + self.second(self.first(x))


class Trunk(nn.Module):
    """Pixels to features at a fourth, an eighth and a sixteenth of the size, with 32, 64 and 128 channels.

    ``fine``: to a fourth in two strides, which sees finer lines.
    """

    def __init__(self, *, fine: bool = False) -> None:
        super().__init__()
        half = OUTER // 2
        once = (convolution(3, OUTER, kernel=7, stride=4),)
        twice = (convolution(3, half, kernel=5, stride=2), convolution(half, OUTER, stride=2))
        self.outer = nn.Sequential(*(twice if fine else once), Block(OUTER))
        self.middle = nn.Sequential(convolution(OUTER, MIDDLE, stride=2), Block(MIDDLE), Block(MIDDLE))
        self.inner = nn.Sequential(convolution(MIDDLE, INNER, stride=2), Block(INNER))

    def forward(
        self, pixels: Float[Tensor, "b 3 height width"]
    ) -> tuple[Float[Tensor, "b c4 h4 w4"], Float[Tensor, "b c8 h8 w8"], Float[Tensor, "b c16 h16 w16"]]:
        """All three, finest first."""
        outer = self.outer(pixels)
        middle = self.middle(outer)
        return outer, middle, self.inner(middle)


def convolution(channels: int, width: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution, batch norm and SiLU."""
    layer = nn.Conv2d(channels, width, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(width), nn.SiLU())
