"""LongCat-Video-Avatar: where the reference stands on the time line, and who sees it (section 3.3)."""

import logging
import math
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby

from enliven.diffusion.clips import ClipGeometry
from enliven.diffusion.guidance import Guidance
from enliven.diffusion.sample import AnchorSchedule, DetailSchedule, LinearSchedule, even_anchors
from enliven.diffusion.solvers import Renoise
from enliven.models.longcat import LongCatParams
from enliven.models.longcat_audio import AudioParams
from enliven.models.networks import HearingParams, NetworkParams
from enliven.models.releases import AVATAR_1_0, AVATAR_1_5
from enliven.models.text import TextParams
from enliven.models.vae import ToonAutoencoderParams
from enliven.models.wan_autoencoder import WanAutoencoderParams
from enliven.models.whisper import WhisperParams
from enliven.systems.carry import KeepLatents, Reencode
from enliven.systems.sizes import TrainedSize
from enliven.systems.spec import ModelSpec
from enliven.types import AttentionRule, LatentLayout, Role

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReferenceSkip:
    """Reference Skip Attention: noise frames near the reference's place in time do not look at it.

    The reference stands first and is given the RoPE time ``position``; all other frames count from 0. Noise frames
    within ``radius`` of that position (radius 1 is the paper's m-1, m, m+1; 0 skips nothing) see context and noise
    only. ``soft``, a weight in 0..1, lets those at a distance of a frame or more see it that much weaker instead
    (the paper's variant of Fig. 6b). At the edges of a clip the window is cut, not given up.
    """

    position: int | float
    radius: int
    soft: float | None = None

    def __post_init__(self) -> None:
        if self.radius < 0 or not (self.soft is None or 0 < self.soft <= 1):
            raise ValueError(f"radius {self.radius} and soft {self.soft}; expected radius >= 0 and soft in 0..1")

    def __call__(self, *, frames: int, context: int, reference: bool) -> LatentLayout:
        """The layout of ``frames`` latent frames, ``context`` of them given, after a reference frame if any."""
        return _arrange(self, frames, context, reference)

    def weight(self, time: int) -> float:
        """How strongly a noise frame at ``time`` sees the reference: 1 fully, 0 not at all."""
        distance = abs(time - self.position)
        if not self.radius or distance > self.radius:
            return 1.0
        return self.soft if self.soft is not None and distance >= 1 else 0.0


@lru_cache(maxsize=1024)
def _arrange(skip: ReferenceSkip, frames: int, context: int, reference: bool) -> LatentLayout:  # noqa: FBT001
    references = int(reference)
    clean = references + context
    total = references + frames
    rules = [AttentionRule(queries, (queries,)) for queries in (range(references), range(references, clean)) if queries]
    if not reference:
        rules.append(AttentionRule(range(clean, total), (range(total),)))
    else:
        rules += _noise_rules(skip, clean, total)
        _report_cut(skip, context, frames)
    return LatentLayout(
        roles=(Role.REFERENCE,) * references + (Role.CONTEXT,) * context + (Role.NOISE,) * (frames - context),
        positions=tuple(map(float, [*[skip.position] * references, *range(frames)])),
        attention=tuple(rules),
    )


def _noise_rules(skip: ReferenceSkip, clean: int, total: int) -> list[AttentionRule]:
    rules = []
    for weight, run in groupby(range(clean, total), key=lambda frame: skip.weight(frame - 1)):
        members = list(run)
        queries = range(members[0], members[-1] + 1)
        if weight == 1:
            rules.append(AttentionRule(queries, (range(total),)))
        elif weight == 0:
            rules.append(AttentionRule(queries, (range(1, total),)))
        else:
            rules.append(AttentionRule(queries, (range(1), range(1, total)), (math.log(weight), 0.0)))
    return rules


def _report_cut(skip: ReferenceSkip, context: int, frames: int) -> None:
    first, last = skip.position - skip.radius, skip.position + skip.radius
    if skip.radius and (first < context or last > frames - 1):
        made = f"{context} to {frames - 1}"
        logger.info("frames %g to %g would skip the reference, but only %s are made", first, last, made)


LONGCAT = ModelSpec(
    name="longcat",
    summary="LongCat-Video-Avatar 1.0: 480p, 16 frames a second; for a large GPU",
    params=NetworkParams(
        backbone=LongCatParams(audio=AudioParams()),
        autoencoder=WanAutoencoderParams(),
        audio=HearingParams(32.0, {"hidden_size": 768, "num_hidden_layers": 12}),
        text=TextParams(
            512,
            {
                "vocab_size": 256384,
                "d_model": 4096,
                "d_kv": 64,
                "d_ff": 10240,
                "num_layers": 24,
                "num_heads": 64,
                "feed_forward_proj": "gated-gelu",
            },
        ),
    ),
    geometry=ClipGeometry(frames=93, context=13, fps=16),
    arrange=ReferenceSkip(10, 1),
    carry=KeepLatents(),
    guidance=Guidance(4.0, 4.0),
    schedule=LinearSchedule(12.0),
    continuation_schedule=DetailSchedule(LinearSchedule(12.0)),
    steps=50,
    size=(480, 832),
    choose_size=TrainedSize("480p"),
    negative_prompt=(
        "Close-up, Bright tones, overexposed, static, blurred details, subtitles, style, works, paintings, images, "
        "static, overall gray, worst quality, low quality, JPEG compression residue, ugly, incomplete, extra fingers, "
        "poorly drawn hands, poorly drawn faces, deformed, disfigured, misshapen limbs, fused fingers, still picture, "
        "messy background, three legs, many people in the background, walking backwards"
    ),
    release=AVATAR_1_0,
    variant="single",
    voices=1,
)

LONGCAT_MULTI = replace(
    LONGCAT,
    name="longcat-multi",
    summary="LongCat-Video-Avatar 1.0 for several people: 480p, 16 frames a second; for a large GPU",
    negative_prompt=LONGCAT.negative_prompt.replace("Bright", "bright"),
    variant="multi",
    voices=None,
)

LONGCAT_1_5_UNDISTILLED = replace(
    LONGCAT,
    name="longcat-1.5-undistilled",
    summary="LongCat-Video-Avatar 1.5 in 50 steps with guidance: 480p, 25 frames a second; for a large GPU",
    params=replace(
        LONGCAT.params,
        backbone=LongCatParams(audio=AudioParams(audio_block=5, audio_channel=1280)),
        audio=WhisperParams(
            25.0,
            {
                "d_model": 1280,
                "encoder_layers": 32,
                "encoder_attention_heads": 20,
                "encoder_ffn_dim": 5120,
                "num_mel_bins": 128,
                "max_source_positions": 1500,
            },
            features="five",
        ),
    ),
    geometry=ClipGeometry(frames=93, context=13, fps=25),
    carry=Reencode(),
    schedule=LinearSchedule(7.0),
    continuation_schedule=DetailSchedule(LinearSchedule(7.0)),
    release=AVATAR_1_5,
    variant="bf16",
    voices=None,
)

DISTILLED_AT = tuple(1 - 125 * index / 999 for index in range(8))  # every 125th of 1000 levels from 1 to 0

LONGCAT_1_5 = replace(
    LONGCAT_1_5_UNDISTILLED,
    name="longcat-1.5",
    summary="LongCat-Video-Avatar 1.5 in 8 steps: one person or several, 480p, 25 frames a second; for a large GPU",
    guidance=Guidance(1.0, 1.0),
    schedule=AnchorSchedule(DISTILLED_AT, 7.0),
    continuation_schedule=None,
    steps=8,
    distillation="dmd_lora",
    teacher=LONGCAT_1_5_UNDISTILLED.name,
)

LONGCAT_1_5_INT8 = replace(
    LONGCAT_1_5,
    name="longcat-1.5-int8",
    summary="LongCat-Video-Avatar 1.5 in 8 steps with weights of 8 bits: nearly the same in half the memory",
    variant="int8",
    teacher=None,
)

TOON_AUTOENCODER = ToonAutoencoderParams()

LONGCAT_TOON = ModelSpec(
    name="longcat-toon",
    summary="drawn people at 128 x 128, 25 frames a second; small enough for a laptop",
    params=NetworkParams(
        backbone=LongCatParams(
            in_channels=TOON_AUTOENCODER.channels,
            out_channels=TOON_AUTOENCODER.channels,
            hidden_size=192,
            depth=6,
            num_heads=3,
            caption_channels=96,
            adaln_tembed_dim=128,
            frequency_embedding_size=128,
            predicts="clean",
            audio=AudioParams(
                audio_window=5, audio_block=3, audio_channel=96, intermediate_dim=128, output_dim=96, context_tokens=8
            ),
        ),
        autoencoder=TOON_AUTOENCODER,
        audio=HearingParams(
            25.0,
            {
                "hidden_size": 96,
                "num_hidden_layers": 3,
                "num_attention_heads": 3,
                "intermediate_size": 384,
                "conv_dim": (64, 96, 128),
                "conv_kernel": (128, 8, 8),
                "conv_stride": (16, 5, 4),
                "conv_bias": True,
                "feat_extract_norm": "layer",
                "num_conv_pos_embeddings": 32,
                "num_conv_pos_embedding_groups": 4,
            },
        ),
        text=TextParams(
            48,
            {
                "vocab_size": 1024,
                "d_model": 96,
                "d_kv": 24,
                "d_ff": 256,
                "num_layers": 3,
                "num_heads": 4,
                "dropout_rate": 0.0,
                "pad_token_id": 0,
                "eos_token_id": 1,
                "feed_forward_proj": "gated-gelu",
            },
        ),
    ),
    geometry=ClipGeometry(frames=41, context=5, fps=25),
    arrange=ReferenceSkip(5, 1),
    carry=KeepLatents(),
    guidance=Guidance(1.5, 1.5),
    schedule=AnchorSchedule(even_anchors(48), 3.0),
    steps=6,
    size=(128, 128),
    solver=Renoise(),  # cleaner than Euler: a small network's guesses err less than its path (decision 15)
)

# Distilled at these four levels: see ``enliven.train.distillation``.
LONGCAT_TOON_4STEP = replace(
    LONGCAT_TOON,
    name="longcat-toon-4step",
    summary="drawn people at 128 x 128 in 4 steps without guidance: a third of the passes of longcat-toon",
    guidance=Guidance(1.0, 1.0),
    schedule=AnchorSchedule(even_anchors(4), 3.0),
    steps=4,
    teacher=LONGCAT_TOON.name,
)
