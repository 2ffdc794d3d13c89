"""Training the toon autoencoder: components from a decomposition, then a decoder that draws sharply from them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor, nn

from enliven.models.vae import ToonAutoencoder, fold
from enliven.train.moments import Moments

Videos = Sequence[UInt8[Tensor, "f 3 h w"]]


class DecoderObjective:
    """Absolute, squared, edge and seam error of pictures painted from latents that carry a little noise.

    A backbone never gives exact latents, so the decoder learns from disturbed ones; the encoder stays as it is.
    """

    def __init__(self, autoencoder: ToonAutoencoder, noise: float = 0.1) -> None:
        self.autoencoder = autoencoder
        self.autoencoder.freeze_encoder()
        self.networks: Mapping[str, nn.Module] = {"autoencoder": autoencoder}
        self.noise = noise

    def losses(self, batch: Mapping[str, Any], step: int) -> dict[str, Tensor]:  # noqa: ARG002
        """``batch["video"]``: uint8 ``b 3 f h w``."""
        video = batch["video"].float() / 127.5 - 1
        latents = self.autoencoder.encode(video)
        level = self.noise * torch.rand(len(latents), 1, 1, 1, 1, device=latents.device)
        painted = self.autoencoder.paint(latents + level * torch.randn_like(latents), {}).float()
        return picture_losses(painted, video) | {"seams": seam_loss(painted - video, self.autoencoder.spatial_factor)}


def picture_losses(
    painted: Float[Tensor, "b 3 f h w"], target: Float[Tensor, "b 3 f h w"]
) -> dict[str, Float[Tensor, ""]]:
    """How far a painted video is from its target: absolute, squared, and in edges across space and time."""
    error = painted - target
    edges = torch.stack([error.diff(dim=axis).abs().mean() for axis in (2, 3, 4)]).sum()
    return {"absolute": error.abs().mean(), "squared": 2 * error.square().mean(), "edges": 0.5 * edges}


def seam_loss(error: Float[Tensor, "b 3 f h w"], side: int) -> Float[Tensor, ""]:
    """How an error steps across the edges of cells of ``side`` pixels, where a viewer sees it first.

    Edges are one pixel in so many, and next to nothing in the mean over all. A single cell has none: 0.
    """
    down, right = error.diff(dim=3)[:, :, :, side - 1 :: side], error.diff(dim=4)[..., side - 1 :: side]
    return 0.25 * sum((each.abs().sum() / max(each.numel(), 1) for each in (down, right)), start=error.new_zeros(()))


@torch.no_grad()
def begin_linear(autoencoder: ToonAutoencoder, videos: Videos, cells: int = 60_000) -> None:
    """Set encoder and linear decoder to principal components of four-frame cells, and the normalising constants.

    Half of the cells come from where the picture moves: else the components would keep still pictures only. Each
    channel is divided by the geometric mean of its own and the common spread, so that diffusion settles coarse
    channels first and fine ones last. Memory holds one video and two covariances, whatever the number of cells.
    """
    pixels = autoencoder.analysis.in_channels
    still, moving = Moments(pixels), Moments(pixels)
    count = -(-cells // (2 * len(videos)))
    for video in videos:
        frames = (video[1:].float() / 127.5 - 1).transpose(0, 1)[None]
        every = fold(frames, autoencoder.spatial_factor).permute(0, 2, 3, 1).flatten(0, 2)
        motion, drawn = every.unflatten(1, (4, -1)).var(dim=1).mean(dim=1) + 1e-6, min(count, len(every))
        still.add(every[torch.randint(len(every), (drawn,))])
        moving.add(every[torch.multinomial(motion, drawn, replacement=True)])
    centre = still.mean
    _, directions = torch.linalg.eigh(still.around(centre) + moving.around(centre))
    basis = directions.T.flip(0)[: autoencoder.channels]
    spread = (basis @ still.around(centre) @ basis.T).diagonal().sqrt()
    root = spread.sqrt()
    state = {
        "analysis.weight": basis[:, :, None, None],
        "analysis.bias": -basis @ centre,
        "synthesis.weight": basis.T[:, :, None, None],
        "synthesis.bias": centre,
        "latent_std": root * (spread.square() / root.square()).mean().sqrt(),
    }
    autoencoder.load_state_dict(state, strict=False)


def crop_batches(videos: Videos, *, batch: int, frames: int, side: int) -> Iterator[Mapping[str, Any]]:
    """Random crops of random moments, without end."""
    while True:
        crops = []
        for _ in range(batch):
            video = videos[_integer(0, len(videos) - 1)]
            time = _integer(0, video.shape[0] - frames)
            crops.append(crop(video[time : time + frames], side).transpose(0, 1))
        yield {"video": torch.stack(crops)}


def crop(video: Shaped[Tensor, "f c h w"], side: int) -> Shaped[Tensor, "f c side side"]:
    """A random square of a video or of latents; half of the time from the middle of the picture, where faces are."""
    spare = (video.shape[2] - side, video.shape[3] - side)
    centred = _integer(0, 1)
    top, left = (_integer(room // 4, 3 * room // 4) if centred else _integer(0, room) for room in spare)
    return video[:, :, top : top + side, left : left + side]


def _integer(low: int, high: int) -> int:
    return int(torch.randint(low, max(low, high) + 1, ()))
