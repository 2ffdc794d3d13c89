"""A voice among instruments, as sounds and as files."""

import math
import wave
from pathlib import Path

import torch

RATE = 24_000


def tone(hertz: float, seconds: float, rate: int = RATE) -> torch.Tensor:
    """A tone that swells and fades four times a second."""
    time = torch.arange(round(seconds * rate)) / rate
    return torch.sin(2 * math.pi * hertz * time) * (0.6 + 0.4 * torch.sin(2 * math.pi * 4 * time))


def write_stereo(path: Path, samples: torch.Tensor, rate: int = RATE) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((len(samples), 2, rate, samples.shape[1], "NONE", ""))
        file.writeframes((samples.clamp(-1, 1) * 32767).short().T.contiguous().numpy().tobytes())
    return path


def decibels(signal: torch.Tensor, made: torch.Tensor) -> float:
    """How far ``signal`` stands above all else in ``made``, whatever its level there."""
    scale = (signal @ made) / (signal @ signal)
    return float(10 * torch.log10((scale * signal).square().sum() / (made - scale * signal).square().sum()))


def band(seconds: float) -> tuple[torch.Tensor, torch.Tensor]:
    """A voice in the middle, and two instruments at the sides, one of them with a tone near those of the voice."""
    voice = 0.2 * (tone(220, seconds) + tone(660, seconds) + tone(1540, seconds))
    left, right = 0.25 * tone(330, seconds) + 0.2 * tone(690, seconds), 0.3 * tone(880, seconds)
    return voice, torch.stack([voice + left, voice + right])
