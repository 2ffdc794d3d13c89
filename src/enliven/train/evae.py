"""Training an efficient decoder, Soul's eVAE: it learns from the video, and from the decoder it is to replace.

The decoder is always run as it will be used, piece by piece with random sizes of the pieces, and gradients flow
through what it remembers in between.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from enliven.models.vae import Memory


@runtime_checkable
class Painter(Protocol):
    """An autoencoder whose decoder can be trained."""

    channels: int

    def encode(self, video: Float[Tensor, "b 3 f height width"]) -> Float[Tensor, "b c t h w"]:
        """The most likely latents of a video of ``4k + 1`` frames."""
        ...

    def paint(self, latents: Float[Tensor, "b c t h w"], memory: Memory) -> Float[Tensor, "b 3 f height width"]:
        """The frames of the next latents, with gradients; ``memory`` carries the past in and out."""
        ...

    def stages(self) -> dict[str, nn.Module]:
        """The parts of the decoder whose features are compared."""
        ...

    def freeze_encoder(self) -> None:
        """Train the decoder only."""
        ...


@dataclass(frozen=True, slots=True)
class EfficientWeights:
    """How much each loss counts; that of the features falls evenly to nothing over ``feature_steps`` steps.

    ``noise`` is the largest disturbance of encoded latents, in standard deviations: a backbone never gives exact ones.
    """

    truth: float = 1.0
    teacher: float = 1.0
    edges: float = 0.1
    motion: float = 0.5
    perceived: float = 1.0
    features: float = 1.0
    feature_steps: int = 2000
    noise: float = 0.1


class EfficientDecoderObjective:
    """The student's pictures against video and teacher, and its features against the teacher's.

    ``eyes`` is a network from pixels ``n 3 h w`` in -1..1 to features at several sizes, such as the trunk of a judge
    (``QualityJudge().network.trunk``); without it nothing is perceived. The teacher is frozen and no part of what is
    saved; heads, which make features of the student as wide as the teacher's, are needed for training only.
    """

    def __init__(
        self,
        student: Painter,
        teacher: Painter,
        weights: EfficientWeights | None = None,
        *,
        eyes: nn.Module | None = None,
    ) -> None:
        self.student = student
        self.teacher = _frozen(teacher)
        self.eyes = eyes and _frozen(eyes)
        self.weights = weights or EfficientWeights()
        student.freeze_encoder()
        self.heads = nn.ModuleDict(feature_heads(student, teacher))
        self.networks: Mapping[str, nn.Module] = {"autoencoder": _module(student), "heads": self.heads}

    def losses(self, batch: Mapping[str, Any], step: int) -> dict[str, Float[Tensor, ""]]:
        """``batch["video"]``: uint8 ``b 3 f h w``, ``batch["latents"]``, or both: a backbone's guesses of a video.

        Without latents the video is encoded and its latents are disturbed; without a video the teacher's pictures are
        true.
        """
        return self.compared(batch, step)[0]

    def compared(
        self, batch: Mapping[str, Any], step: int
    ) -> tuple[dict[str, Float[Tensor, ""]], Float[Tensor, "b 3 f height width"], Float[Tensor, "b 3 f height width"]]:
        """The losses, the student's pictures and the true ones."""
        weights = self.weights
        features = weights.features * max(0.0, 1 - step / weights.feature_steps)
        latents, video = self._given(batch)
        pieces = random_pieces(latents.shape[2])
        taught, shown = self._taught(latents, pieces, video, watch=features > 0)
        painted, seen = paint_in_pieces(self.student, latents, pieces, watch=features > 0)
        truth = video if video is not None else taught
        losses = {
            "truth": weights.truth * (painted - truth).abs().mean(),
            "teacher": weights.teacher * (painted - taught).abs().mean(),
            "edges": weights.edges * changes(painted - truth, (3, 4)),
            "motion": weights.motion * changes(painted - truth, (2,)),
            "features": features * self._feature_distance(seen, shown, painted),
        }
        if self.eyes:
            losses["perceived"] = weights.perceived * perceived_distance(self.eyes, painted, truth)
        return losses, painted, truth

    @torch.no_grad()
    def _given(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor | None]:
        """Latents, and the video in -1..1."""
        device = next(self.heads.parameters()).device
        for network in (self.teacher, self.eyes):
            if isinstance(network, nn.Module):
                network.to(device)
        video = batch["video"].float() / 127.5 - 1 if "video" in batch else None
        if "latents" in batch:
            return batch["latents"].float(), video
        assert video is not None, "a batch has a video or latents"
        latents = self.teacher.encode(video)
        level = self.weights.noise * torch.rand(len(latents), 1, 1, 1, 1, device=latents.device)
        return latents + level * torch.randn_like(latents), video

    @torch.no_grad()
    def _taught(
        self, latents: Tensor, pieces: Sequence[int], video: Tensor | None, *, watch: bool
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """What the teacher shows and its features; where nothing counts, it rests, and the video takes its place."""
        if video is not None and not watch and not self.weights.teacher:
            return video, {}
        return paint_in_pieces(self.teacher, latents, pieces, watch=watch)

    def _feature_distance(
        self, seen: Mapping[str, Tensor], shown: Mapping[str, Tensor], painted: Tensor
    ) -> Float[Tensor, ""]:
        """The mean over all stages of the squared error of features whose every pixel has a mean square of one."""
        errors = [
            F.mse_loss(_even(self.heads[name](features).float()), _even(shown[name].float()))
            for name, features in seen.items()
        ]
        return torch.stack(errors).mean() if errors else painted.new_zeros(())


def paint_in_pieces(
    painter: Painter, latents: Float[Tensor, "b c t h w"], pieces: Sequence[int], *, watch: bool = False
) -> tuple[Float[Tensor, "b 3 f height width"], dict[str, Float[Tensor, "_ _"]]]:
    """The video of latents that come in ``pieces``, and a row of features of each stage for every place in it.

    There are no features unless they are watched.
    """
    memory: Memory = {}
    with watched(painter.stages() if watch else {}) as rows:
        video = torch.cat([painter.paint(piece, memory) for piece in latents.split(list(pieces), dim=2)], dim=2)
    return video.float(), {name: torch.cat(parts) for name, parts in rows.items()}


@contextmanager
def watched(stages: Mapping[str, nn.Module]) -> Iterator[dict[str, list[Tensor]]]:
    """While it is open, what each stage gives is kept: rows of channels, call after call."""
    rows: dict[str, list[Tensor]] = {name: [] for name in stages}

    def keep(name: str, output: Tensor) -> None:
        rows[name].append(output.movedim(1, -1).flatten(0, -2))

    with ExitStack() as hooks:
        for name, stage in stages.items():
            hook = stage.register_forward_hook(lambda _module, _inputs, output, name=name: keep(name, output))
            hooks.callback(hook.remove)
        yield rows


def feature_heads(student: Painter, teacher: Painter) -> dict[str, nn.Linear]:
    """For each stage a linear map from the student's channels to the teacher's."""
    widths = []
    for painter in (student, teacher):
        weight = next(_module(painter).parameters())
        latent = torch.zeros(1, painter.channels, 1, 1, 1, device=weight.device, dtype=weight.dtype)
        with torch.no_grad():
            _, rows = paint_in_pieces(painter, latent, [1], watch=True)
        widths.append({name: values.shape[1] for name, values in rows.items()})
    return {name: nn.Linear(width, widths[1][name], bias=False) for name, width in widths[0].items()}


def random_pieces(count: int) -> list[int]:
    """``count`` cut into pieces of random sizes."""
    pieces: list[int] = []
    while left := count - sum(pieces):
        pieces.append(int(torch.randint(1, left + 1, ())))
    return pieces


def changes(error: Float[Tensor, "b 3 f height width"], axes: Sequence[int]) -> Float[Tensor, ""]:
    """The mean absolute change of an error from each place to the next, summed over ``axes`` longer than one."""
    parts = [error.diff(dim=axis).abs().mean() for axis in axes if error.shape[axis] > 1]
    return torch.stack(parts).sum() if parts else error.new_zeros(())


def perceived_distance(
    eyes: nn.Module, painted: Float[Tensor, "b 3 f height width"], truth: Float[Tensor, "b 3 f height width"]
) -> Float[Tensor, ""]:
    """How differently frames are seen: squared distance of feature directions, averaged over places and sizes."""
    looks = [eyes(video.transpose(1, 2).flatten(0, 1)) for video in (painted, truth)]
    return torch.stack(
        [
            (F.normalize(one.float(), dim=1) - F.normalize(other.float(), dim=1)).square().sum(dim=1).mean()
            for one, other in zip(*looks, strict=True)
        ]
    ).mean()


def _even(rows: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    return F.rms_norm(rows, rows.shape[1:], eps=1e-6)


def _module(painter: Any) -> nn.Module:
    assert isinstance(painter, nn.Module), "what is trained is a network"
    return painter


def _frozen(network: Any) -> Any:
    return _module(network).requires_grad_(requires_grad=False).eval()
