"""What every judge promises: a frozen network that says something about each frame of a video."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from enliven.errors import WeightsError
from enliven.media.image import fit_frames

SIDE = 128  # pixels; what judges look at
BATCH = 64  # frames looked at together
WEIGHTS = Path(__file__).parents[1] / "weights" / "judges"

Verdict = Mapping[str, Tensor]
Network = TypeVar("Network", bound=nn.Module)


@runtime_checkable
class Judge(Protocol):
    """Looks at frames and gives tensors by name; the first axis of each is ``f``."""

    name: str

    def __call__(self, frames: UInt8[Tensor, "f 3 h w"]) -> Verdict:
        """What is thought of each frame. Frames of another size are fitted to 128 x 128 first."""
        ...


@torch.inference_mode()
def look(network: nn.Module, frames: UInt8[Tensor, "f 3 h w"]) -> tuple[Tensor, ...]:
    """The outputs of ``network`` for all frames, which it sees in small batches."""
    seen = [network(to_input(fit_frames(batch, SIDE, SIDE))) for batch in frames.split(BATCH)]
    return tuple(torch.cat(parts) for parts in zip(*seen, strict=True))


def to_input(frames: UInt8[Tensor, "f 3 128 128"]) -> Float[Tensor, "f 3 128 128"]:
    """Frames as networks take them: -1..1, channels last in memory."""
    return (frames.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def weights_path(name: str) -> Path:
    """Where the weights of the judge ``name`` are."""
    return WEIGHTS / f"{name}.safetensors"


def save_network(network: nn.Module, path: Path) -> None:
    """Write the weights in half precision."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = {key: value.half() if value.is_floating_point() else value for key, value in network.state_dict().items()}
    save_file({key: value.contiguous() for key, value in half.items()}, path)


def load_network(network: Network, path: Path) -> Network:
    """Fill ``network`` with the weights at ``path`` and freeze it. WeightsError when they are missing or do not fit."""
    if not path.is_file():
        raise WeightsError(f"no judge weights at {path}", hint="train them: python -m enliven.train.judging")
    try:
        network.load_state_dict(load_file(path))
    except (RuntimeError, ValueError) as error:
        raise WeightsError(f"{path.name} is not this judge's: {error}", hint="install the package again") from error
    return network.float().eval().requires_grad_(requires_grad=False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
