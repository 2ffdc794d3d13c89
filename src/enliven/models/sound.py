"""From recorded speech to what a wav2vec 2.0 encoder expects, in the way of LongCat-Video-Avatar 1.0.

Loudness to -23 LUFS, a noise floor at -45 dB, a causal 3 kHz low-pass, zero mean and unit variance. Each step carries
its state over pieces of a minute, so nothing but the samples themselves grows with the length.
"""

import math
from collections.abc import Iterator

import numpy
import torch
from jaxtyping import Float
from pyloudnorm.iirfilter import IIRfilter
from scipy.signal import butter, lfilter
from torch import Tensor

SAMPLE_RATE = 16_000
LOUDNESS = -23.0  # LUFS, EBU R 128
NOISE_FLOOR = 10 ** (-45 / 20)
CUTOFF = 3000  # hertz
PIECE = 60 * SAMPLE_RATE
STEP = SAMPLE_RATE // 10  # a gating block of 0.4 s begins every 0.1 s (ITU-R BS.1770-4)
GATE = -70.0  # LUFS


def prepare(
    samples: Float[Tensor, "n"], *, seed: int = 0, noise: Float[Tensor, "n"] | None = None
) -> Float[Tensor, "n"]:
    """Speech in -1..1 at 16 kHz, ready for the encoder; ``noise`` overrides the noise drawn from ``seed``."""
    return standardise(filtered(samples, loudness_gain(samples), seed=seed, noise=noise))


def loudness_gain(samples: Float[Tensor, "n"]) -> float:
    """The factor that brings ``samples`` to -23 LUFS; 1 for silence and for less than a gating block (0.4 s)."""
    measured = loudness(samples)
    return 10 ** ((LOUDNESS - measured) / 20) if math.isfinite(measured) else 1.0


def loudness(samples: Float[Tensor, "n"]) -> float:
    """Integrated loudness in LUFS (ITU-R BS.1770-4); minus infinity for silence and for less than 0.4 s."""
    energy = _step_energies(samples)
    blocks = round(len(samples) / STEP - 4) + 1 if len(samples) >= 4 * STEP else 0
    power = numpy.array([energy[block : block + 4].sum() / (4 * STEP) for block in range(blocks)])
    power = power[power > _power(GATE)]
    if not power.size:
        return -math.inf
    power = power[power > power.mean() / 10]
    return -0.691 + 10 * math.log10(power.mean())


def _power(lufs: float) -> float:
    return 10 ** ((lufs + 0.691) / 10)


def _step_energies(samples: Float[Tensor, "n"]) -> numpy.ndarray:
    """The energy of K-weighted sound in steps of 0.1 s; the last may be shorter."""
    shelf = IIRfilter(4.0, 1 / math.sqrt(2), 1500.0, SAMPLE_RATE, "high_shelf")
    high_pass = IIRfilter(0.0, 0.5, 38.0, SAMPLE_RATE, "high_pass")
    states = [numpy.zeros(2), numpy.zeros(2)]
    energies = [numpy.zeros(1)]
    for piece in _pieces(len(samples)):
        sound = samples[piece].double().numpy()
        for index, weighting in enumerate((shelf, high_pass)):
            sound, states[index] = lfilter(weighting.b, weighting.a, sound, zi=states[index])
        energies.append(numpy.add.reduceat(sound**2, numpy.arange(0, len(sound), STEP)))
    return numpy.concatenate(energies)[1:]


def filtered(
    samples: Float[Tensor, "n"], gain: float, *, seed: int = 0, noise: Float[Tensor, "n"] | None = None
) -> Float[Tensor, "n"]:
    """``samples`` times ``gain`` with the noise floor added, through the low-pass."""
    numerator, denominator = butter(3, CUTOFF, fs=SAMPLE_RATE)
    generator = torch.Generator().manual_seed(seed)
    state = numpy.zeros(3)
    result = torch.empty(len(samples))
    for piece in _pieces(len(samples)):
        sound = samples[piece].double() * gain
        floor = torch.randn(len(sound), generator=generator) if noise is None else noise[piece]
        passed, state = lfilter(numerator, denominator, (sound + NOISE_FLOOR * floor).numpy(), zi=state)
        result[piece] = torch.from_numpy(passed)
    return result


def standardise(samples: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """Zero mean and unit variance over the whole, accumulated piece by piece."""
    pieces = list(_pieces(len(samples)))
    mean = sum(samples[piece].double().sum().item() for piece in pieces) / len(samples)
    variance = sum((samples[piece].double() - mean).square().sum().item() for piece in pieces) / len(samples)
    return samples.sub(mean).div_(math.sqrt(variance + 1e-7))


def _pieces(samples: int) -> Iterator[slice]:
    return (slice(start, min(start + PIECE, samples)) for start in range(0, samples, PIECE))
