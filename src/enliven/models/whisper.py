"""A Whisper encoder as ears: every hidden state of overlapping windows (Soul), or five means of them (LongCat 1.5).

Speech is brought to -23 LUFS, so that a mouth does not depend on how loud a recording is, and nothing else: Whisper has
learnt from recordings with noise and full bandwidth. Its log-mel spectrogram follows, 100 frames a second.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import WhisperConfig
from transformers.audio_utils import mel_filter_bank
from transformers.models.whisper import modeling_whisper

from enliven.errors import ConfigError, WeightsError
from enliven.models.audio import Outside, SpeechFeatures, require_sound, whole_frames
from enliven.models.sound import SAMPLE_RATE, loudness_gain

RATE = 50.0  # hidden states a second
HOP = 160  # samples between mel frames; two mel frames make a hidden state
SAMPLES = 2 * HOP  # in a hidden state
FOURIER = 400  # samples under one mel frame
RANGE = 8.0  # powers of ten kept below the loudest
MEL_PIECE = 6000  # mel frames computed at once
OVERLAP = 1 / 12  # of a window, on each side: 2.5 s of 30
GROUPS = 4  # of hidden states, of which LongCat 1.5 takes the means
ENCODER_SETTINGS = (
    *("d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim"),
    *("num_mel_bins", "max_source_positions", "activation_function", "scale_embedding"),
)


@dataclass(frozen=True, slots=True)
class WhisperParams:
    """A Whisper encoder: ``rate`` features a second, and what differs from the default ``WhisperConfig`` (tiny).

    ``features`` are ``"states"``: all hidden states, at 50 a second, or ``"five"``: those of LongCat 1.5, at any rate.
    Raises ConfigError for a rate that ``"states"`` cannot have.
    """

    rate: float = RATE
    config: Mapping[str, Any] = field(default_factory=dict)
    features: Literal["states", "five"] = "states"

    def __post_init__(self) -> None:
        if self.features == "states" and self.rate != RATE:
            raise ConfigError(
                f"hidden states of Whisper come {RATE:g} a second, not {self.rate:g}", hint='give no rate, or "five"'
            )

    @classmethod
    def from_config(cls, values: Mapping[str, Any], **settings: Any) -> "WhisperParams":
        """The sizes in a published ``config.json``; what it says about a decoder is left out."""
        return cls(config={name: values[name] for name in ENCODER_SETTINGS if name in values}, **settings)


class WhisperEncoder(nn.Module):
    """A Whisper encoder that gives all its hidden states: embedding, layers, the last one normalised.

    Whisper hears windows of one length, 30 s as published; shorter sound is padded with silence. Longer sound is heard
    in windows that overlap by a twelfth on each side, and their middles are kept. The spectrogram is that of the whole
    recording, so that no cut shows in it; hidden states remember where in its window a sound lay.
    """

    outside: Outside = "zero"

    def __init__(self, params: WhisperParams) -> None:
        super().__init__()
        self.params = params
        self.rate = params.rate
        self.network = modeling_whisper.WhisperEncoder(WhisperConfig(**params.config))
        self.filters = _filters(self.network.config.num_mel_bins)

    @property
    def layers(self) -> int:
        """How many hidden states a feature holds: one for each layer and the embedding."""
        return self.network.config.encoder_layers + 1

    @property
    def channels(self) -> int:
        """The width of a hidden state."""
        return self.network.config.d_model

    @property
    def positions(self) -> int:
        """How many hidden states a window has."""
        return self.network.config.max_source_positions

    @property
    def span(self) -> float | None:
        """The seconds of a window."""
        return self.positions / RATE

    def frames(self, samples: int) -> int:
        """How many features ``samples`` samples at 16 kHz give: the whole frames they fill, at least one."""
        return whole_frames(samples, self.rate)

    def prepare(self, samples: Float[Tensor, "n"], *, seed: int = 0) -> Float[Tensor, "n"]:  # noqa: ARG002
        """The sound at -23 LUFS; silence keeps its level. There is no noise to draw. Raises MediaError for none."""
        require_sound(samples)
        samples = samples.cpu().float()
        return samples * loudness_gain(samples)

    def mel(self, prepared: Float[Tensor, "*b n"]) -> Float[Tensor, "*b bins m"]:
        """The spectrogram of sound, see ``log_mel``."""
        return log_mel(prepared, self.filters.to(prepared.device))

    def forward(self, mel: Float[Tensor, "b bins m"]) -> Float[Tensor, "b positions layers c"]:
        """All hidden states of whole windows of the spectrogram."""
        network = self.network
        hidden = nn.functional.gelu(network.conv1(mel))
        hidden = nn.functional.gelu(network.conv2(hidden)).transpose(1, 2)
        states = [hidden + network.embed_positions.weight]
        for layer in network.layers:
            states.append(layer(states[-1], None))
        return torch.stack([*states[:-1], network.layer_norm(states[-1])], dim=2)

    def states(self, prepared: Float[Tensor, "b n"]) -> Float[Tensor, "b a layers c"]:
        """The features of several stretches of prepared sound, none longer than a window, with gradients."""
        return self(self.mel(fitted(prepared, self.positions)))[:, : self.frames(prepared.shape[1])]

    def listen(self, prepared: Float[Tensor, "n"]) -> Iterator[Float[Tensor, "a layers c"]]:
        """The features of prepared sound, window after window."""
        windows = list(self.windows(self.frames(len(prepared))))
        mel = self.mel(fitted(prepared, windows[-1][0] + self.positions))
        for start, wanted in windows:
            states = self._window(mel[:, 2 * start : 2 * (start + self.positions)])
            yield states[wanted.start - start : wanted.stop - start]

    def windows(self, frames: int) -> Iterator[tuple[int, range]]:
        """Where each window of ``frames`` hidden states starts, and those kept of it."""
        margin = round(OVERLAP * self.positions)
        for start in range(0, max(1, frames - 2 * margin), self.positions - 2 * margin):
            last = start + self.positions >= frames
            yield start, range(start + margin if start else 0, frames if last else start + self.positions - margin)

    def encode(self, samples: Float[Tensor, "n"], *, seed: int = 0) -> SpeechFeatures:
        """Features of speech at 16 kHz in -1..1; MediaError when there is none."""
        return SpeechFeatures(torch.cat(list(self.listen(self.prepare(samples, seed=seed)))), self.rate, self.outside)

    def silence(self, frames: int) -> SpeechFeatures:
        """Features of ``frames`` frames of a silent waveform: a quiet voice, not null audio."""
        return self.encode(torch.zeros(round(frames * SAMPLE_RATE / self.rate)))

    def load_published(self, state_dict: Mapping[str, Tensor]) -> None:
        """Take weights as published for all of Whisper or its encoder; WeightsError if they misfit."""
        state = {name.removeprefix("model.").removeprefix("encoder."): value for name, value in state_dict.items()}
        wanted = self.network.state_dict()
        missing = sorted(set(wanted) - set(state))
        wrong = [name for name in wanted if name in state and state[name].shape != wanted[name].shape]
        strange = [name for name in state if name not in wanted and not name.startswith(("decoder.", "proj_out."))]
        if missing or wrong or strange:
            raise WeightsError(
                f"the weights do not fit this Whisper encoder: missing {missing[:3]}, of another shape {wrong[:3]}, "
                f"not expected {strange[:3]}",
                hint="use the weights and the config.json of one and the same Whisper",
            )
        self.network.load_state_dict({name: state[name] for name in wanted})

    @torch.no_grad()
    def _window(self, mel: Float[Tensor, "bins m"]) -> Float[Tensor, "positions layers c"]:
        return self(mel[None].to(self.network.conv1.weight))[0].cpu().float()


class FiveFeatureEncoder(WhisperEncoder):
    """The hearing of LongCat-Video-Avatar 1.5: five features for each video frame.

    Sound is heard in windows that neither overlap nor know of each other. The hidden states but the last are averaged
    in four groups of equal size; these and the last one are brought to the rate of the video by linear interpolation
    over the whole recording.
    """

    outside: Outside = "repeat"

    @property
    def layers(self) -> int:
        """How many features there are: the groups and the last hidden state."""
        return GROUPS + 1

    def states(self, prepared: Float[Tensor, "b n"]) -> Float[Tensor, "b a layers c"]:
        """The features of several stretches of prepared sound, none longer than a window, with gradients."""
        frames = self.frames(prepared.shape[1])
        states = group_states(self(self.mel(fitted(prepared, self.positions))))
        before, after, share = _between(frames, self._heard(frames))
        return torch.lerp(states[:, before], states[:, after], share[:, None, None].to(states))

    def listen(self, prepared: Float[Tensor, "n"]) -> Iterator[Float[Tensor, "a layers c"]]:
        """The features of prepared sound, window after window."""
        frames = self.frames(len(prepared))
        before, after, share = _between(frames, self._heard(frames))
        tail = torch.empty(0, self.layers, self.channels)
        for window in range(int(after[-1]) // self.positions + 1):
            start = window * self.positions
            sound = fitted(prepared[start * SAMPLES : (start + self.positions) * SAMPLES], self.positions)
            states = torch.cat([tail, group_states(self._window(self.mel(sound)))])
            first, tail = start - len(tail), states[-1:]
            here = after // self.positions == window
            yield torch.lerp(states[before[here] - first], states[after[here] - first], share[here, None, None])

    def _heard(self, frames: int) -> int:
        """How many hidden states ``frames`` features are made from."""
        return round(frames * RATE / self.rate)


def new_whisper(params: WhisperParams) -> WhisperEncoder:
    """A new encoder with random weights."""
    return (WhisperEncoder if params.features == "states" else FiveFeatureEncoder)(params)


def group_states(states: Float[Tensor, "*b layers c"]) -> Float[Tensor, "*b 5 c"]:
    """Means of four equal groups of all hidden states but the last, and the last."""
    groups = states[..., :-1, :].unflatten(-2, (GROUPS, -1)).mean(dim=-2)
    return torch.cat([groups, states[..., -1:, :]], dim=-2)


def _between(frames: int, heard: int) -> tuple[Tensor, Tensor, Float[Tensor, "f"]]:
    """For each frame the hidden states before and after it and its way from one to the other; ends meet ends."""
    places = torch.arange(frames, dtype=torch.float32) * ((heard - 1) / max(1, frames - 1))  # single, as published
    before = places.floor().long().clamp(max=heard - 1)
    return before, (before + 1).clamp(max=heard - 1), places - before


def log_mel(samples: Float[Tensor, "*b n"], filters: Float[Tensor, "bins k"]) -> Float[Tensor, "*b bins m"]:
    """The logarithmic mel spectrogram of Whisper, a frame every 160 samples; the loudest sets how low it reaches."""
    mirrored = nn.functional.pad(samples.reshape(-1, 1, samples.shape[-1]), (FOURIER // 2, FOURIER // 2), "reflect")
    mirrored = mirrored.view(*samples.shape[:-1], -1)
    frames = samples.shape[-1] // HOP
    pieces = []
    for start in range(0, frames, MEL_PIECE):
        stop = min(start + MEL_PIECE, frames)
        sound = mirrored[..., start * HOP : (stop - 1) * HOP + FOURIER]
        window = torch.hann_window(FOURIER, device=samples.device)
        waves = torch.stft(sound, FOURIER, HOP, window=window, center=False, return_complex=True)
        pieces.append((filters @ waves.abs().square()).clamp(min=1e-10).log10())
    mel = torch.cat(pieces, dim=-1)
    return (mel.maximum(mel.amax(dim=(-2, -1), keepdim=True) - RANGE) + 4) / 4


def fitted(samples: Float[Tensor, "*b n"], states: int) -> Float[Tensor, "*b m"]:
    """The sound of exactly so many hidden states: padded with silence, or cut."""
    return nn.functional.pad(samples, (0, states * SAMPLES - samples.shape[-1]))


def _filters(bins: int) -> Float[Tensor, "bins k"]:
    bank = mel_filter_bank(1 + FOURIER // 2, bins, 0.0, 8000.0, SAMPLE_RATE, norm="slaney", mel_scale="slaney")
    return torch.from_numpy(bank).float().T.contiguous()
