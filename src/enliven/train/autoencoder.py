"""Training the toon autoencoder: sharp pictures, and latents that move well.

Half of every batch is decoded from latents that were shifted, turned and scaled by fractions of a cell, and must give
the picture shifted, turned and scaled the same way. A diffusion transformer that has to move a head by half a cell
then finds a latent for it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from enliven.models.vae import ToonAutoencoder, fold


class AutoencoderObjective:
    """L1, squared and gradient error of the picture, a trace of KL; see the module for the moved half."""

    def __init__(self, autoencoder: ToonAutoencoder, kl_weight: float = 1e-4, moved: float = 0.5) -> None:
        self.autoencoder = autoencoder
        self.networks: Mapping[str, nn.Module] = {"vae": autoencoder}
        self.kl_weight = kl_weight
        self.moved = moved

    def losses(self, batch: Mapping[str, Any], step: int) -> dict[str, Tensor]:  # noqa: ARG002
        """``batch["video"]``: uint8 ``b 3 f h w``."""
        video = batch["video"].float() / 127.5 - 1
        mean, log_variance = self.autoencoder.posterior(video)
        mean, log_variance = mean.float(), log_variance.float()
        latents = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        target, margin = video, 0
        if self.moved:
            count = round(self.moved * video.shape[0])
            motion = random_motion(count, cells=latents.shape[-1])
            latents = torch.cat([move(latents[:count], motion), latents[count:]])
            target = torch.cat([move(video[:count], motion), video[count:]])
            margin = self.autoencoder.spatial_factor
        painted = self.autoencoder.paint(latents, {})[:, :, 3:].float()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        return picture_losses(_inner(painted, margin), _inner(target, margin)) | {"kl": self.kl_weight * kl}


@torch.no_grad()
def begin_linear(autoencoder: ToonAutoencoder, videos: Sequence[UInt8[Tensor, "f 3 h w"]], cells: int = 40_000) -> None:
    """Start from principal components of four-frame cells, half of them drawn from where the picture moves."""
    drawn = []
    for video in videos:
        frames = (video[1:].float() / 127.5 - 1).transpose(0, 1)[None]
        every = fold(frames, autoencoder.spatial_factor).permute(0, 2, 3, 1).flatten(0, 2)
        moving = every.unflatten(1, (4, -1)).var(dim=1).mean(dim=1) + 1e-6
        count = -(-cells // (2 * len(videos)))
        drawn += [every[torch.randint(len(every), (count,))], every[torch.multinomial(moving, count, replacement=True)]]
    samples = torch.cat(drawn)
    centre = torch.cat(drawn[::2]).mean(dim=0)
    _, _, directions = torch.linalg.svd((samples - centre).T @ (samples - centre))
    basis = directions[: autoencoder.channels]
    autoencoder.analysis.weight.copy_(basis[:, :, None, None])
    autoencoder.analysis.bias.copy_(-basis @ centre)
    autoencoder.synthesis.weight.copy_(basis.T[:, :, None, None])
    autoencoder.synthesis.bias.copy_(centre)


@torch.no_grad()
def calibrate(autoencoder: ToonAutoencoder, videos: Sequence[UInt8[Tensor, "f 3 h w"]]) -> None:
    """Set the constants that normalise latents: unit variance over all channels, and strong channels stay stronger.

    Each channel is divided by the geometric mean of its own and the common spread, so that diffusion settles coarse
    channels first and fine ones last.
    """
    latents = torch.cat([autoencoder.posterior((v.float() / 127.5 - 1).transpose(0, 1)[None])[0] for v in videos])
    spread = latents.std(dim=(0, 2, 3, 4))
    autoencoder.latent_mean.copy_(latents.mean(dim=(0, 2, 3, 4)))
    root = spread.sqrt()
    autoencoder.latent_std.copy_(root * (spread.square() / root.square()).mean().sqrt())


def picture_losses(
    painted: Float[Tensor, "b 3 f h w"], target: Float[Tensor, "b 3 f h w"]
) -> dict[str, Float[Tensor, ""]]:
    """How far a painted video is from its target: absolute, squared, and in edges across space and time."""
    error = painted - target
    edges = sum(error.diff(dim=axis).abs().mean() for axis in (2, 3, 4))
    return {"absolute": error.abs().mean(), "squared": 2 * error.square().mean(), "edges": 0.5 * torch.as_tensor(edges)}


def random_motion(count: int, cells: int) -> Float[Tensor, "count 2 3"]:
    """Affine maps: shifts up to a cell each way, turns up to 6 degrees, scales of 0.8 to 1.2."""
    angle = (torch.rand(count) * 2 - 1) * math.radians(6)
    scale = torch.empty(count).uniform_(0.8, 1.2)
    shift = (torch.rand(count, 2) * 2 - 1) * 2 / cells
    cosine, sine = torch.cos(angle) / scale, torch.sin(angle) / scale
    rows = torch.stack([cosine, -sine, shift[:, 0], sine, cosine, shift[:, 1]], dim=1)
    return rows.unflatten(1, (2, 3))


def move(video: Float[Tensor, "b c f h w"], motion: Float[Tensor, "b 2 3"]) -> Float[Tensor, "b c f h w"]:
    """Every frame of each sample shifted, turned and scaled alike."""
    frames = video.transpose(1, 2).flatten(0, 1)
    maps = motion.repeat_interleave(video.shape[2], dim=0)
    grid = F.affine_grid(maps, list(frames.shape), align_corners=False)
    moved = F.grid_sample(frames, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
    return moved.unflatten(0, (video.shape[0], -1)).transpose(1, 2)


def _inner(video: Tensor, margin: int) -> Tensor:
    return video[..., margin : video.shape[-2] - margin, margin : video.shape[-1] - margin]


def crop_batches(
    videos: Sequence[UInt8[Tensor, "f 3 h w"]], *, batch: int, frames: int, side: int, seed: int = 0
) -> Iterator[Mapping[str, Any]]:
    """Random crops of random moments, without end; half of them from the middle of the picture, where faces are."""
    generator = torch.Generator().manual_seed(seed)

    def integer(low: int, high: int) -> int:
        return int(torch.randint(low, max(low, high) + 1, (), generator=generator))

    while True:
        crops = []
        for _ in range(batch):
            video = videos[integer(0, len(videos) - 1)]
            time = integer(0, video.shape[0] - frames)
            spare = (video.shape[2] - side, video.shape[3] - side)
            centred = integer(0, 1)
            top, left = (integer(room // 4, 3 * room // 4) if centred else integer(0, room) for room in spare)
            crops.append(video[time : time + frames, :, top : top + side, left : left + side].transpose(0, 1))
        yield {"video": torch.stack(crops)}
