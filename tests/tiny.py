"""The smallest networks that run the real code: random weights, 32 x 32 pixels, clips of 17 or 16 frames."""

import math
import wave
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

from enliven.diffusion.clips import ClipGeometry
from enliven.diffusion.guidance import Guidance
from enliven.diffusion.sample import AnchorSchedule, EvenSchedule, even_anchors
from enliven.diffusion.solvers import UniPC
from enliven.models.codebook import Codebook, CodebookParams
from enliven.models.longcat import LongCatParams
from enliven.models.longcat_audio import AudioParams
from enliven.models.networks import PARTS, HearingParams, NetworkParams, Networks, build_network
from enliven.models.text import TextParams, learn_tokenizer
from enliven.models.vae import ToonAutoencoderParams
from enliven.models.wan import WanParams
from enliven.models.wan_audio import WanAudioParams
from enliven.models.whisper import WhisperParams
from enliven.systems.carry import KeepLatents, RepairLatents
from enliven.systems.longcat import ReferenceSkip
from enliven.systems.soul import PivotalFrame
from enliven.systems.spec import ModelSpec

GEOMETRY = ClipGeometry(frames=17, context=5, fps=25)

PARAMS = NetworkParams(
    backbone=LongCatParams(
        in_channels=4,
        out_channels=4,
        hidden_size=32,
        depth=2,
        num_heads=2,
        caption_channels=16,
        adaln_tembed_dim=16,
        frequency_embedding_size=16,
        audio=AudioParams(
            audio_window=5, audio_block=2, audio_channel=16, intermediate_dim=16, output_dim=16, context_tokens=2
        ),
    ),
    autoencoder=ToonAutoencoderParams(channels=4, outer_width=8, inner_width=8),
    audio=HearingParams(
        25.0,
        {
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "conv_dim": (8, 8, 8),
            "conv_kernel": (128, 8, 8),
            "conv_stride": (16, 5, 4),
            "feat_extract_norm": "layer",
            "num_conv_pos_embeddings": 4,
            "num_conv_pos_embedding_groups": 2,
        },
    ),
    text=TextParams(12, {"vocab_size": 300, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}),
)

SOUL_PARAMS = NetworkParams(
    backbone=WanParams(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=2,
        ffn_dim=32,
        text_dim=16,
        freq_dim=16,
        audio=WanAudioParams(audio_block=3, audio_channel=16, intermediate_dim=16, tokens=2),
    ),
    autoencoder=PARAMS.autoencoder,
    audio=WhisperParams(
        config={
            "d_model": 16,
            "encoder_layers": 2,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 16,
            "num_mel_bins": 20,
            "max_source_positions": 50,
        }
    ),
    text=PARAMS.text,
    decoders={"efficient": ToonAutoencoderParams(channels=4, outer_width=4, inner_width=4)},
)


def tiny_networks(seed: int = 0, params: NetworkParams = PARAMS) -> Networks:
    """New tiny networks; every weight random, also those that start at zero for training."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        words = learn_tokenizer(["a man with a hat"], 300)
        networks = Networks(
            **{name: build_network(getattr(params, name), lambda: words) for name in PARTS},
            decoders={name: build_network(sizes) for name, sizes in params.decoders.items()},
        )
        for parameter in networks.backbone.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
    for network in networks.parts.values():
        network.eval().requires_grad_(False)
    return networks


def tiny_codebook() -> Codebook:
    """One centroid, 0; real latents lie evenly within 2 of it."""
    codebook = Codebook(CodebookParams(size=1, channels=4))
    codebook.counts.fill_(1)
    codebook.spreads.fill_(1)
    codebook.percentiles.copy_(torch.linspace(0, 2, 101))
    return codebook


def tiny_soul_networks(seed: int = 0) -> Networks:
    """Tiny networks of Soul, with a codebook and a second decoder."""
    return replace(tiny_networks(seed, SOUL_PARAMS), codebook=tiny_codebook())


def tiny_soul(**changes: object) -> ModelSpec:
    """Soul with tiny networks and clips of a pivot and 4 latent frames, 2 of them repeated."""
    spec = tiny_spec(
        name="tiny-soul",
        params=SOUL_PARAMS,
        geometry=ClipGeometry(frames=16, context=8, fps=25, pivot=True),
        arrange=PivotalFrame(),
        carry=RepairLatents(),
        schedule=EvenSchedule(3.0),
        solver=UniPC(),
        voices=1,
        soundless="null",
    )
    return replace(spec, **changes)


def tiny_spec(**changes: object) -> ModelSpec:
    """A model of tiny networks; ``changes`` replace its parts."""
    spec = ModelSpec(
        name="tiny",
        summary="for tests",
        params=PARAMS,
        geometry=GEOMETRY,
        arrange=ReferenceSkip(2, 1),
        carry=KeepLatents(),
        guidance=Guidance(2.0, 2.0),
        schedule=AnchorSchedule(even_anchors(8), 3.0),
        steps=2,
        size=(32, 32),
    )
    return replace(spec, **changes)


def write_speech(path: Path, seconds: float) -> Path:
    """A sound that is not silence, as a WAV file of 16 kHz."""
    time = torch.arange(round(seconds * 16_000)) / 16_000
    samples = (0.3 * torch.sin(2 * math.pi * 220 * time * (1 + 0.2 * torch.sin(9 * time))) * 32767).short()
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, len(samples), "NONE", ""))
        file.writeframes(samples.numpy().tobytes())
    return path


def write_portrait(path: Path, size: tuple[int, int] = (40, 48)) -> Path:
    """A picture of colours that differ from place to place."""
    ramp = torch.linspace(0, 255, size[0] * size[1] * 3).to(torch.uint8).view(*size, 3)
    Image.fromarray(ramp.numpy()).save(path)
    return path
