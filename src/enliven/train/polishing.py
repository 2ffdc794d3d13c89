"""Polishing the decoder: it learns to paint what the backbone gives, which is never quite what the encoder would.

The backbone's guesses of clean latents carry errors of its own kind, alike within a patch of cells and different in
the next. The decoder sees neighbouring cells and can mend what a viewer would notice first: seams between patches.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import avg_pool2d

from enliven.errors import ConfigError
from enliven.models.backbone import Backbone
from enliven.models.vae import ToonAutoencoder
from enliven.train.autoencoder import DecoderObjective, picture_losses, seam_loss
from enliven.train.batches import ClipBatches
from enliven.train.trainer import Batch

# Times the noise with which the last step of sampling begins: what that step guesses is what the decoder gets.
AROUND = (0.6, 1.05)


class PolishingObjective(DecoderObjective):
    """``DecoderObjective`` half on latents of the encoder and half on guesses of the backbone.

    Guesses are worst where a clip moves, and there errors weigh most.
    """

    def losses(self, batch: Mapping[str, Any], step: int) -> dict[str, Tensor]:
        """``batch``: ``video`` uint8 ``b 3 4t h w`` and ``guessed`` latents ``b c t h w`` of the same moments."""
        video = batch["video"][:, :, 3:]  # without a past, the first latent paints its last frame
        if step % 2:
            return super().losses({"video": video}, step)
        painted = self.autoencoder.paint(batch["guessed"].float(), {}).float()
        truth = video.float() / 127.5 - 1
        weight = moving(truth)
        seams = seam_loss(painted - truth, self.autoencoder.spatial_factor)
        return picture_losses(weight * painted, weight * truth) | {"seams": seams}


def moving(video: Float[Tensor, "b 3 f h w"], most: float = 6.0) -> Float[Tensor, "b 1 1 h w"]:
    """Low where a video stands still, up to ``1 + most`` times that where it moves most; mean 1."""
    travel = avg_pool2d(video.std(dim=2).mean(dim=1, keepdim=True), 9, stride=1, padding=4)
    weight = 1 + most * travel / travel.amax(dim=(2, 3), keepdim=True).clamp(min=0.05)
    return (weight / weight.mean(dim=(2, 3), keepdim=True))[:, :, None]


@torch.no_grad()
def guess(backbone: Backbone, batch: Batch, last: float) -> tuple[Float[Tensor, "b c t h w"], range]:
    """The backbone's guess of a training batch's noise frames, and which latent frames of the clip they are.

    It guesses from noise around the level ``last``.
    """
    clip = batch["clip"]
    truth, clean = clip.latents, clip.layout.clean
    low, high = (last * share for share in AROUND)
    sigma = low + (high - low) * torch.rand(truth.shape[0], 1).expand(-1, truth.shape[2])
    sigma = sigma.clamp(max=1.0)
    sigma[:, :clean] = 0
    level = sigma[:, None, :, None, None]
    noisy = truth.lerp(torch.randn_like(truth), level)
    noisy[:, :, :clean] = batch["given"]
    guessed = noisy - level * backbone(noisy, sigma, batch["cond"], clip.layout)
    context = clean - clip.layout.references
    first = -(-batch["heard"].start // 4) + context
    return guessed[:, :, clean:], range(first, first + truth.shape[2] - clean)


def save_guesses(backbone: Backbone, batches: ClipBatches, folder: Path, count: int, last: float) -> Iterator[int]:
    """Guess ``count`` batches of clips and write each clip's; yields how many are done."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        batch = batches.make()
        guessed, which = guess(backbone, batch, last)
        for name, latents in zip(batch["names"], guessed, strict=True):
            tensors = {"guessed": latents.half().contiguous(), "first": torch.tensor(which.start)}
            save_file(tensors, folder / f"{number:05d}-{name}")
        yield number + 1


def guessed_crops(
    guesses: Path, clips: Path, autoencoder: ToonAutoencoder, *, batch: int, latents: int = 3, cells: int = 8
) -> Iterator[Mapping[str, Any]]:
    """Random crops of guesses and the video frames they stand for, without end."""
    factor = autoencoder.spatial_factor
    found = [path for path in sorted(guesses.glob("*.safetensors")) if (clips / path.name.split("-")[1]).exists()]
    if not found:
        raise ConfigError(f"no guesses of drawn clips in {guesses}", hint="guess some first")
    videos = {name: load_file(clips / name)["frames"] for name in {path.name.split("-")[1] for path in found}}
    stored = [(load_file(path), videos[path.name.split("-")[1]]) for path in found]
    while True:
        rows: list[tuple[Tensor, Tensor]] = []
        while len(rows) < batch:
            tensors, video = stored[_below(len(stored))]
            guessed, first = tensors["guessed"], int(tensors["first"])
            earliest = max(1 - first, 0)  # the first latent of a clip stands for a single frame
            offset = earliest + _below(guessed.shape[1] - latents - earliest + 1)
            start = 4 * (first + offset) - 3
            top, left = (_below(side - cells + 1) for side in guessed.shape[2:])
            pixels = _crop(video[start : start + 4 * latents], factor * top, factor * left, factor * cells)
            rows.append((pixels, _crop(guessed[:, offset : offset + latents], top, left, cells)))
        videos_cut, guesses_cut = (torch.stack(part) for part in zip(*rows, strict=True))
        yield {"video": videos_cut.transpose(1, 2), "guessed": guesses_cut}


def _crop(values: Tensor, top: int, left: int, side: int) -> Tensor:
    return values[..., top : top + side, left : left + side]


def _below(limit: int) -> int:
    return int(torch.randint(limit, ()))
