"""Where each person is in the picture, resized with the picture and down to the backbone's tokens."""

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import interpolate


def fit_masks(masks: Float[Tensor, "classes h w"], height: int, width: int) -> Float[Tensor, "classes height width"]:
    """Masks resized as ``fit_to`` resizes the picture: covering the frame, the middle kept (LongCat-Video-Avatar)."""
    scale = max(height / masks.shape[1], width / masks.shape[2])
    covering = (max(height, int(masks.shape[1] * scale)), max(width, int(masks.shape[2] * scale)))
    resized = interpolate(masks[None], size=covering, mode="bilinear", align_corners=False)[0]
    top, left = (covering[0] - height) // 2, (covering[1] - width) // 2
    return resized[:, top : top + height, left : left + width]


def token_masks(masks: Float[Tensor, "classes height width"], grid: tuple[int, int]) -> Bool[Tensor, "classes h w"]:
    """Which tokens of a ``grid`` of (rows, columns) belong to each class, by the nearest pixel."""
    return interpolate(masks[None], size=grid, mode="nearest")[0] > 0
