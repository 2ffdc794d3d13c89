"""The voice in a recording that also holds music or noise: what is listened to. The sound of the video stays whole."""

import hashlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import soxr
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from enliven.errors import EnlivenError, MediaError, WeightsError
from enliven.media.audio import SPEECH_RATE, audio_blocks, mono_16k
from enliven.media.storage import replacing
from enliven.media.vocals_demucs import read_demucs
from enliven.types import Audio

logger = logging.getLogger(__name__)

CENTRE = "centre"
WEIGHTS = {".safetensors", ".yaml"}  # what a folder of Demucs holds
PIECE_SECONDS, MARGIN_SECONDS = 60, 1  # whole numbers, so that pieces meet at every rate
KEPT, VOICE = "voice_{}.safetensors", "voice"  # its file, and the tensor in it
DIGITS = 16  # of what names a recording
QUIETEST = 1e-4  # a voice of less than this share of the energy is none

Hear = Callable[[Path, str | None], Tensor]
"""What is listened to of a sound file, see ``heard_voice``."""


@runtime_checkable
class Separator(Protocol):
    """Finds the voice in a recording."""

    def __call__(self, sound: Audio) -> Audio:
        """The voice in ``sound``, as long as it, at any rate and in any number of channels."""
        ...


@dataclass(frozen=True, slots=True)
class Centre:
    """What both channels of a stereo recording share, within the band of speech; of one channel, the band alone.

    A voice stands in the middle of most mixes and instruments beside it. Each cell of the spectrogram counts as much as
    its two channels agree: fully where they are equal, not at all where one of them is silent. ``band`` is in hertz.
    """

    window: int = 2048
    band: tuple[float, float] = (80.0, 7600.0)

    def __call__(self, sound: Audio) -> Audio:
        """The middle, in one channel at the rate of ``sound``."""
        hann = torch.hann_window(self.window)
        spectra = torch.stft(
            sound.samples, self.window, self.window // 4, window=hann, pad_mode="constant", return_complex=True
        )
        middle = spectra.mean(0)
        if len(spectra) == 2:
            left, right = spectra
            apart = (left - right).abs() / (left.abs() + right.abs()).clamp(min=1e-9)
            middle = middle * (1 - apart).clamp(min=0) ** 2
        gain = _band_gain(torch.linspace(0, sound.rate / 2, middle.shape[0]), self.band)
        voice = torch.istft(middle * gain[:, None], self.window, self.window // 4, window=hann, length=_length(sound))
        return Audio(voice[None], sound.rate)


def find_separator(vocals: str) -> Separator:
    """What ``vocals`` names: "centre", or weights of Demucs, a .safetensors file or a folder of them.

    Raises WeightsError, and MissingExtra where Demucs is not installed.
    """
    if vocals == CENTRE:
        return Centre()
    if not Path(vocals).exists():
        raise WeightsError(f"{vocals!r} is neither {CENTRE!r} nor there", hint="give a folder of weights of Demucs")
    return read_demucs(Path(vocals))


def located(vocals: str, folder: Path) -> str:
    """The same from anywhere: a name as it is, a path from ``folder``."""
    return vocals if vocals == CENTRE else str(folder / vocals)


def weight_files(vocals: str | None) -> list[Path]:
    """The files that decide over what is listened to, where there are any."""
    if vocals is None or vocals == CENTRE:
        return []
    path = Path(vocals)
    return [path] if path.is_file() else sorted(each for each in path.glob("*") if each.suffix in WEIGHTS)


def heard_voice(path: Path, vocals: str | Separator | None = None) -> Float[Tensor, "samples"]:
    """What is listened to of a sound file, at 16 kHz: the voice, where ``vocals`` finds it, else all of it.

    It is a name for ``find_separator``, or for many files what that returns, so that weights are read once. Where
    parting fails, a warning says so and all is listened to. Raises MediaError.
    """
    if vocals is None:
        return mono_16k(path)
    try:
        return part_voice(path, find_separator(vocals) if isinstance(vocals, str) else vocals)
    except Exception as error:  # whatever another library raises
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        advice = f" ({error.hint})" if isinstance(error, EnlivenError) and error.hint else ""
        logger.warning("all of %s is listened to, not the voice alone: %s%s", path.name, reason, advice)
    return mono_16k(path)


@dataclass(frozen=True, slots=True)
class KeptVoices:
    """What is listened to, kept in a folder: parted again, with another library or device, it might be another voice.

    What was listened to for want of a voice alone is kept as well.
    """

    folder: Path

    def __call__(self, path: Path, vocals: str | None = None) -> Float[Tensor, "samples"]:
        """``heard_voice``, once of each recording. Raises MediaError, also for a damaged file, and StorageError."""
        if vocals is None:
            return heard_voice(path)
        kept = self.place(path)
        if not kept.exists():
            voice = heard_voice(path, vocals).contiguous()
            with replacing(kept) as part:
                save_file({VOICE: voice}, part)
        try:
            return load_file(kept)[VOICE]
        except (OSError, SafetensorError, KeyError) as error:
            raise MediaError(f"{kept} is damaged: {error}", hint="start the run anew") from error

    def place(self, path: Path) -> Path:
        """The file of a recording's voice."""
        return self.folder / KEPT.format(hashlib.sha256(str(path).encode()).hexdigest()[:DIGITS])

    def forget(self) -> None:
        """Remove all of them, and no other file that happens to be called a voice."""
        for kept in self.folder.glob(KEPT.format("[0-9a-f]" * DIGITS)):
            kept.unlink()


def part_voice(path: Path, separator: Separator) -> Float[Tensor, "samples"]:
    """The voice of a sound file at 16 kHz; a long one is taken in pieces. Raises MediaError where none is left."""
    voices, energies = [], torch.zeros(2, dtype=torch.float64)
    for piece, before, after in pieces(path):
        voice = separator(piece)
        mono = torch.from_numpy(
            np.ascontiguousarray(soxr.resample(voice.samples.float().cpu().numpy().mean(0), voice.rate, SPEECH_RATE))
        )
        energies += torch.stack([_energy(voice), _energy(piece)])
        voices.append(mono[before * SPEECH_RATE : len(mono) - after * SPEECH_RATE])
    if energies[0] < QUIETEST * energies[1]:
        raise MediaError(f"{path.name} holds no voice that could be found", hint="leave out --vocals")
    return torch.cat(voices)


def pieces(path: Path) -> Iterator[tuple[Audio, int, int]]:
    """A sound file in pieces of a minute, each with the second before and after it that it also holds (0 or 1)."""
    held, before = torch.zeros(0, 0), 0
    rate = 0
    for block in audio_blocks(path):
        rate, held = block.rate, torch.cat([held, block.samples], dim=1) if held.numel() else block.samples
        while held.shape[1] > (before + PIECE_SECONDS + MARGIN_SECONDS) * rate:
            end = before + PIECE_SECONDS
            yield Audio(held[:, : (end + MARGIN_SECONDS) * rate], rate), before, MARGIN_SECONDS
            held, before = held[:, (end - MARGIN_SECONDS) * rate :], MARGIN_SECONDS
    yield Audio(held, rate), before, 0


def _band_gain(hertz: Float[Tensor, "bins"], band: tuple[float, float]) -> Float[Tensor, "bins"]:
    """1 within the band, 0 beyond half of its lower and a quarter more than its upper edge, a line between."""
    low, high = band
    return ((hertz - low / 2) / (low / 2)).clamp(0, 1) * ((1.25 * high - hertz) / (0.25 * high)).clamp(0, 1)


def _energy(sound: Audio) -> Float[Tensor, ""]:
    return sound.samples.double().cpu().square().mean() * (_length(sound) / sound.rate)


def _length(sound: Audio) -> int:
    return sound.samples.shape[-1]
