"""Training the toon audio encoder: to hear, in every layer, what the mouth does.

A small wav2vec 2.0 or Whisper network learns from synthetic speech with known phone times. A linear head on each of
its hidden states reads off the five mouth parameters, the sound and whether somebody speaks, so that every one carries
them. Training sees sound through exactly the preparation used later.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from enliven.errors import MediaError
from enliven.models.audio import AudioEncoder, average_frames
from enliven.models.mouth import MOUTH, MouthFromSpeech
from enliven.models.networks import HearingParams, build_network
from enliven.models.sound import SAMPLE_RATE
from enliven.models.whisper import WhisperEncoder, WhisperParams, new_whisper
from enliven.toonworld.emphasis import emphasise
from enliven.toonworld.visemes import sound_class
from enliven.toonworld.voice import Phone, Speech, mouth_track, read_speech
from enliven.train.augment_speech import disturb, excerpt
from enliven.train.trainer import TrainConfig, Trainer
from enliven.types import OnProgress, ignore_progress

FPS = 25.0
LENGTHS = (1.6, 2.4, 4.0, 4.0, 6.0)  # seconds of an excerpt, for an encoder that hears any length at once
IMPORTANCE = torch.tensor([3.0, 1.0, 1.5, 1.0, 1.0])  # of the mouth parameters, for the eye


class HearingObjective:
    """Squared error of the mouth, cross entropy of sound and voice, in every layer; later layers count more.

    An encoder that gives several features in a video frame is judged by their mean.
    """

    def __init__(self, encoder: AudioEncoder, heads: MouthFromSpeech) -> None:
        encoder.network.eval()  # there is no dropout to switch on
        self.encoder, self.heads = encoder, heads
        self.networks: Mapping[str, nn.Module] = {"encoder": encoder.network, "heads": heads}
        self.weights = torch.linspace(0.4, 1, encoder.layers)

    def losses(self, batch: Mapping[str, Any], step: int) -> dict[str, Tensor]:  # noqa: ARG002
        """``batch``: prepared ``samples`` [b n], ``mouth`` [b f 5], ``sound`` [b f] with -1 for unknown."""
        samples, target, label = batch["samples"], batch["mouth"], batch["sound"]
        mouth, sound, voice = self.heads(average_frames(self.encoder.states(samples), round(self.encoder.rate / FPS)))
        weights = (self.weights / self.weights.sum()).to(target.device)
        error = ((mouth - target[:, :, None]).square() * IMPORTANCE.to(target.device)).mean(dim=(0, 1, 3))
        several = label[:, :, None].expand(sound.shape[:3])
        entropy = functional.cross_entropy(sound.movedim(-1, 1), several, ignore_index=-1, reduction="none")
        speaking = functional.binary_cross_entropy_with_logits(voice, (several != 0).float(), reduction="none")
        return {
            "mouth": 10 * (error * weights).sum(),
            "sound": 0.2 * (entropy.mean(dim=(0, 1)) * weights).sum(),
            "voice": 0.2 * (speaking.mean(dim=(0, 1)) * weights).sum(),
        }


def listen_like_a_filter_bank(network: nn.Module) -> None:
    """Fix the first convolution to windowed tones on a mel scale, with biases that keep the level audible.

    A layer norm follows it; without the biases it would make every moment equally loud. The layer is not trained:
    it is most of the cost and would stay a filter bank.
    """
    keep_first_layer(network)
    convolution = network.get_submodule("feature_extractor.conv_layers.0.conv")
    assert isinstance(convolution, nn.Conv1d)
    channels, _, width = convolution.weight.shape
    mels = torch.linspace(1127 * math.log(1 + 70 / 700), 1127 * math.log(1 + 3200 / 700), channels // 2)
    frequencies = 700 * (torch.exp(mels / 1127) - 1)
    phase = 2 * math.pi * frequencies[:, None] * (torch.arange(width) - width / 2) / SAMPLE_RATE
    tones = torch.cat([phase.cos(), phase.sin()]) * torch.hann_window(width)
    assert convolution.bias is not None
    with torch.no_grad():
        convolution.weight[:, 0] = 2 * tones / tones.norm(dim=1, keepdim=True)
        convolution.bias.normal_(0, 0.7)


def keep_first_layer(network: nn.Module) -> None:
    """Do not train the filter bank."""
    network.get_submodule("feature_extractor.conv_layers.0").requires_grad_(requires_grad=False)


def hear_louder_than_places(network: nn.Module) -> None:
    """Begin a Whisper with sounds as strong as the places added to them, which otherwise drown them.

    The places are fixed, as published.
    """
    keep_places(network)
    with torch.no_grad():
        for name in ("conv1", "conv2"):
            convolution = network.get_submodule(name)
            assert isinstance(convolution, nn.Conv1d)
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")


def keep_places(network: nn.Module) -> None:
    """Do not train the places a Whisper adds to its embedding."""
    network.get_submodule("embed_positions").requires_grad_(requires_grad=False)


def hearing_batches(
    speeches: Sequence[Speech], encoder: AudioEncoder, *, seconds: float = 48.0
) -> Iterator[dict[str, Tensor]]:
    """Batches of ``seconds`` of disturbed speech in all, cut to one length that ``encoder`` hears; without end."""
    while True:
        random = Random(int(torch.randint(2**31, ())))
        length = encoder.span or random.choice(LENGTHS)
        rows = [hearing_row(random.choice(speeches), length, random, encoder) for _ in range(round(seconds / length))]
        yield {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def hearing_row(speech: Speech, seconds: float, random: Random, encoder: AudioEncoder) -> dict[str, Tensor]:
    """One training example: sound prepared for ``encoder`` and, for each video frame, mouth and sound class."""
    speech = excerpt(emphasise(speech, random), seconds, random)
    if random.random() < 0.06:
        speech = nobody_speaks(len(speech.samples), random)
    frames = round(seconds * FPS)
    if random.random() < 0.9:
        speech = replace(speech, samples=disturb(speech.samples, random))
    if random.random() < 0.2:
        speech = break_off(speech, random.uniform(0.2, 1) * seconds)
    return {
        "samples": encoder.prepare(speech.samples, seed=random.getrandbits(32)),
        "mouth": targets(speech.phones, frames),
        "sound": sounds(speech.phones, frames),
    }


def nobody_speaks(samples: int, random: Random) -> Speech:
    """Digital silence or, more often, the noise of a room, which may become as loud as speech when it is prepared."""
    generator = torch.Generator().manual_seed(random.getrandbits(40))
    level = 0.0 if random.random() < 0.3 else 10 ** (-random.uniform(20, 80) / 20)
    return Speech(level * torch.randn(samples, generator=generator), (Phone("", 0.0, samples / SAMPLE_RATE),), "", "")


def break_off(speech: Speech, seconds: float) -> Speech:
    """``speech`` with digital silence after ``seconds``, as behind the end of a recording."""
    phones = tuple(replace(p, end=min(p.end, seconds)) for p in speech.phones if p.start < seconds)
    kept = torch.arange(len(speech.samples)) < seconds * SAMPLE_RATE
    return replace(speech, samples=speech.samples * kept, phones=phones)


def targets(phones: Sequence[Phone], frames: int) -> Float[Tensor, "f 5"]:
    """The mouth parameters of each video frame, in the order of ``MOUTH``."""
    mouth = mouth_track(phones, frames, FPS)
    return torch.stack([getattr(mouth, name) for name in MOUTH], dim=1)


def sounds(phones: Sequence[Phone], frames: int) -> Tensor:
    """The class of the sound in the middle of each video frame."""
    labels = torch.zeros(frames, dtype=torch.long)
    for phone in phones:
        first, stop = (min(frames, max(0, math.ceil(edge * FPS - 0.5))) for edge in (phone.start, phone.end))
        labels[first:stop] = sound_class(phone.symbol)
    return labels


def new_ears(params: HearingParams | WhisperParams | None) -> tuple[AudioEncoder, MouthFromSpeech]:
    """An encoder that knows nothing yet, and heads for it; a wav2vec 2.0 hears like a filter bank."""
    assert params is not None, "what learns to hear has ears"
    encoder: AudioEncoder
    if isinstance(params, WhisperParams):
        encoder = new_whisper(params)
        hear_louder_than_places(encoder.network)
    else:
        encoder = build_network(params)
        listen_like_a_filter_bank(encoder.network)
    return encoder, MouthFromSpeech(encoder.layers, encoder.channels)


def keep_fixed(encoder: AudioEncoder) -> None:
    """Do not train what ``new_ears`` fixed: for an encoder that is to be trained on."""
    (keep_places if isinstance(encoder, WhisperEncoder) else keep_first_layer)(encoder.network)


def train_hearing(
    config: TrainConfig,
    corpus: Path,
    encoder: AudioEncoder,
    heads: MouthFromSpeech,
    on_progress: OnProgress = ignore_progress,
) -> None:
    """Train both on the speech in ``corpus`` (``python -m enliven.toonworld.espeak``), from where a run stopped.

    They end with the averages of their weights. MediaError when ``corpus`` holds no speech.
    """
    speeches = [read_speech(path.with_suffix(".flac")) for path in sorted(corpus.glob("*.json"))]
    if not speeches:
        raise MediaError(f"no speech in {corpus}", hint="build it with: python -m enliven.toonworld.espeak FOLDER")
    trainer = Trainer(config, HearingObjective(encoder, heads), hearing_batches(speeches, encoder))
    trainer.fit(on_progress)
    encoder.network.load_state_dict(trainer.averaged("encoder"))
    heads.load_state_dict(trainer.averaged("heads"))


def correlation(encoder: AudioEncoder, heads: MouthFromSpeech, speeches: Sequence[Speech]) -> dict[str, float]:
    """How well each mouth parameter is heard: its correlation with the truth over all frames of ``speeches``."""
    heard, true = [], []
    for speech in speeches:
        mouth = heads.mouth(encoder.encode(speech.samples).averaged(FPS))
        heard.append(torch.stack([getattr(mouth, name) for name in MOUTH]))
        true.append(targets(speech.phones, heard[-1].shape[1]).T)
    pairs = torch.stack([torch.cat(heard, dim=1), torch.cat(true, dim=1)], dim=1)
    return {name: float(torch.corrcoef(pair)[0, 1]) for name, pair in zip(MOUTH, pairs, strict=True)}
