"""Speech as the backbone hears it: hidden states of an audio encoder, one per video frame or more.

``AudioEncoder`` is what every encoder can do. ``Wav2VecEncoder`` is the one of LongCat-Video-Avatar 1.0: the sound is
prepared (``enliven.models.sound``), its convolutional features are brought to the wanted rate by linear interpolation,
and the outputs of all encoder layers are kept. ``enliven.models.whisper`` has the other.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import Wav2Vec2Config, Wav2Vec2Model

from enliven.errors import MediaError, WeightsError
from enliven.models.sound import SAMPLE_RATE, prepare

Outside = Literal["repeat", "zero"]


@runtime_checkable
class AudioFrames(Protocol):
    """Hidden states of audio frames [a layers c] that may lie elsewhere than in memory; a tensor is such."""

    def __len__(self) -> int:
        """How many audio frames there are."""
        ...

    def __getitem__(self, frames: slice, /) -> Float[Tensor, "_ layers c"]:
        """Those of a stretch."""
        ...


@dataclass(frozen=True, slots=True)
class SpeechFeatures:
    """Encoder features at ``rate`` a second: for each audio frame, several hidden states.

    Frames ``outside`` the recording repeat its first or last one (LongCat), or are zero like null audio (Soul).
    Only the stretch of ``features`` that windows ask for is read.
    """

    features: AudioFrames
    rate: float
    outside: Outside = "repeat"

    def windows(self, frames: range, window: int = 5, stride: int = 1) -> Float[Tensor, "f w layers c"]:
        """For each video frame its audio frame and neighbours; an even window has one more after than before.

        ``stride`` is the number of audio frames in a video frame: 2 for features at 32 and video at 16 a second.
        """
        centres = torch.tensor(frames, dtype=torch.long) * stride
        neighbours = centres[:, None] + torch.arange(window) - (window - 1) // 2
        inside = neighbours.clamp(0, len(self.features) - 1)
        first, last = (int(frame) for frame in inside.aminmax()) if frames else (0, -1)
        heard = self.features[first : last + 1][inside - first]
        return heard if self.outside == "repeat" else heard * (inside == neighbours)[:, :, None, None]

    def averaged(self, fps: float) -> Float[Tensor, "f layers c"]:
        """One frame for each whole video frame: the mean of the audio frames in it."""
        return average_frames(self.features[:], round(self.rate / fps))


def average_frames(features: Float[Tensor, "*b a layers c"], stride: int) -> Float[Tensor, "*b f layers c"]:
    """Means of ``stride`` audio frames at a time; a rest too short for one is left out."""
    whole = features.shape[-3] // stride * stride
    return features[..., :whole, :, :].unflatten(-3, (-1, stride)).mean(dim=-3)


@runtime_checkable
class AudioEncoder(Protocol):
    """What hears: sound at 16 kHz becomes ``layers`` hidden states of ``channels`` numbers, ``rate`` times a second.

    ``encode`` is ``prepare``, then ``listen``. Longer sound than the encoder hears at once comes in pieces.
    """

    rate: float
    outside: Outside
    network: nn.Module

    @property
    def layers(self) -> int:
        """How many hidden states a feature holds."""
        ...

    @property
    def channels(self) -> int:
        """The width of a hidden state."""
        ...

    @property
    def span(self) -> float | None:
        """The seconds heard at once where that is fixed and shorter sound is padded; None where any length is."""
        ...

    def frames(self, samples: int) -> int:
        """How many features so many samples give: the whole frames they fill, at least one."""
        ...

    def prepare(self, samples: Float[Tensor, "n"], *, seed: int = 0) -> Float[Tensor, "n"]:
        """The sound as the network wants it. Raises MediaError for none."""
        ...

    def listen(self, prepared: Float[Tensor, "n"]) -> Iterator[Float[Tensor, "a layers c"]]:
        """The features of prepared sound, piece after piece."""
        ...

    def states(self, prepared: Float[Tensor, "b n"]) -> Float[Tensor, "b a layers c"]:
        """The features of several short stretches of prepared sound, with gradients: for training."""
        ...

    def encode(self, samples: Float[Tensor, "n"], *, seed: int = 0) -> SpeechFeatures:
        """Features of speech at 16 kHz in -1..1. Raises MediaError for none."""
        ...

    def silence(self, frames: int) -> SpeechFeatures:
        """Features of ``frames`` frames of a silent waveform: a quiet voice, not null audio."""
        ...


def whole_frames(samples: int, rate: float) -> int:
    """How many frames ``samples`` samples at 16 kHz fill at ``rate`` frames a second, at least one."""
    return max(1, math.floor(samples * rate / SAMPLE_RATE + 1e-6))


def require_sound(samples: Float[Tensor, "n"]) -> None:
    """Raise MediaError when there is not even one sample."""
    if not len(samples):
        raise MediaError("the speech has 0 samples, expected at least one", hint="give a longer recording")


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of sound encoded at once: the frames wanted of it, those computed, and where they lie.

    ``samples`` is the sound to read, ``positions`` the computed frames counted in its convolutional features.
    """

    wanted: range
    computed: range
    samples: slice
    positions: Float[Tensor, "f"]


class Wav2VecEncoder(nn.Module):
    """A wav2vec 2.0 encoder that gives features at ``rate`` a second.

    Sound longer than ``piece`` seconds is encoded in pieces that overlap by twice ``margin`` seconds; shorter sound
    is encoded whole. A group norm in the first convolution (as published) then normalises each piece by itself.
    """

    outside: Outside = "repeat"
    span = None

    def __init__(self, config: Wav2Vec2Config, rate: float, *, piece: float = 20.0, margin: float = 2.0) -> None:
        super().__init__()
        self.network = Wav2Vec2Model(config)
        self.rate, self.piece, self.margin = rate, piece, margin
        self.hop = math.prod(config.conv_stride)
        self.field = 1
        for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
            self.field = (self.field - 1) * stride + kernel

    @property
    def layers(self) -> int:
        """How many encoder layers there are."""
        return self.network.config.num_hidden_layers

    @property
    def channels(self) -> int:
        """The width of a hidden state."""
        return self.network.config.hidden_size

    def frames(self, samples: int) -> int:
        """How many features ``samples`` samples at 16 kHz give: the whole frames they fill, at least one."""
        return whole_frames(samples, self.rate)

    def forward(self, samples: Float[Tensor, "b n"], positions: Float[Tensor, "f"]) -> Float[Tensor, "b f layers c"]:
        """Hidden states of prepared sound at ``positions``, counted in convolutional features."""
        network = self.network
        features = network.feature_extractor(samples).transpose(1, 2)
        before = positions.floor().long().clamp(max=features.shape[1] - 1)
        after = (before + 1).clamp(max=features.shape[1] - 1)
        share = (positions - before).to(features)[:, None]
        hidden, _ = network.feature_projection(features[:, before] * (1 - share) + features[:, after] * share)
        return torch.stack(self._states(hidden), dim=2)

    def _states(self, hidden: Float[Tensor, "b f c"]) -> list[Float[Tensor, "b f c"]]:
        """The output of every encoder layer."""
        encoder = self.network.encoder
        norm_last = self.network.config.do_stable_layer_norm
        hidden = hidden + encoder.pos_conv_embed(hidden)
        hidden = hidden if norm_last else encoder.layer_norm(hidden)
        states = []
        for layer in encoder.layers:
            hidden = layer(hidden)
            states.append(hidden)
        return [*states[:-1], encoder.layer_norm(hidden)] if norm_last else states

    def prepare(
        self, samples: Float[Tensor, "n"], *, seed: int = 0, noise: Float[Tensor, "n"] | None = None
    ) -> Float[Tensor, "n"]:
        """``enliven.models.sound.prepare``; MediaError when there is no sound.

        The noise floor is drawn from ``seed``, unless given as standard normal numbers.
        """
        require_sound(samples)
        return prepare(samples.cpu(), seed=seed, noise=noise)

    def listen(self, prepared: Float[Tensor, "n"]) -> Iterator[Float[Tensor, "a layers c"]]:
        """The features of prepared sound, piece after piece."""
        device = next(self.parameters()).device
        frames = self.frames(len(prepared))
        prepared = nn.functional.pad(prepared, (0, max(0, self.field - len(prepared))))
        for piece in self.pieces(frames, len(prepared)):
            with torch.no_grad():
                states = self(prepared[None, piece.samples].to(device), piece.positions.to(device))[0]
            first = piece.wanted.start - piece.computed.start
            yield states[first : first + len(piece.wanted)].cpu().float()

    def states(self, prepared: Float[Tensor, "b n"]) -> Float[Tensor, "b a layers c"]:
        """The features of several short stretches of prepared sound, with gradients: for training."""
        piece = next(self.pieces(self.frames(prepared.shape[1]), prepared.shape[1]))
        return self(prepared, piece.positions.to(prepared.device))

    def encode(
        self, samples: Float[Tensor, "n"], *, seed: int = 0, noise: Float[Tensor, "n"] | None = None
    ) -> SpeechFeatures:
        """Features of speech at 16 kHz in -1..1; MediaError when there is none. ``noise`` as in ``prepare``."""
        return SpeechFeatures(torch.cat(list(self.listen(self.prepare(samples, seed=seed, noise=noise)))), self.rate)

    def silence(self, frames: int) -> SpeechFeatures:
        """Features of ``frames`` frames of a silent waveform: a quiet voice, not null audio."""
        return self.encode(torch.zeros(math.ceil(frames * SAMPLE_RATE / self.rate)))

    def pieces(self, frames: int, samples: int) -> Iterator[Piece]:
        """Split sound into what gives ``frames`` frames: the first lies on the first feature, the last on the last."""
        last = (samples - self.field) // self.hop
        spacing = last / (frames - 1) if frames > 1 else 0.0
        margin, longest = round(self.margin * self.rate), round(self.piece * self.rate)
        step = longest - 2 * margin if frames > longest else frames
        for start in range(0, frames, step):
            wanted = range(start, min(start + step, frames))
            computed = range(max(0, start - margin), min(wanted.stop + margin, frames))
            positions = torch.tensor(computed, dtype=torch.float64) * spacing
            first, stop = math.floor(positions[0]), min(math.floor(positions[-1]) + 1, last)
            sound = slice(first * self.hop, samples if stop == last else stop * self.hop + self.field)
            yield Piece(wanted, computed, sound, (positions - first).float())

    def load_published(self, state_dict: Mapping[str, Tensor]) -> None:
        """Take weights as published, with or without ``wav2vec2.`` before the names; WeightsError if they misfit."""
        state = {_current_name(name.removeprefix("wav2vec2.")): value for name, value in state_dict.items()}
        wanted = self.network.state_dict()
        missing = sorted(set(wanted) - set(state) - {"masked_spec_embed"})
        wrong = [name for name in wanted if name in state and state[name].shape != wanted[name].shape]
        if missing or wrong:
            raise WeightsError(
                f"the weights do not fit this wav2vec 2.0 encoder: missing {missing[:3]}, of another shape {wrong[:3]}",
                hint="use the weights and the config.json of one and the same encoder",
            )
        self.network.load_state_dict(state, strict=False)


WEIGHT_NORM = {"conv.weight_g": "original0", "conv.weight_v": "original1"}


def _current_name(name: str) -> str:
    """The name of a weight since weight norm became a parametrization."""
    old = next((old for old in WEIGHT_NORM if name.endswith(old)), None)
    return name if old is None else f"{name.removesuffix(old)}conv.parametrizations.weight.{WEIGHT_NORM[old]}"
