"""Soul: one pivotal picture before every clip, everything sees everything, latents are repaired between clips."""

from dataclasses import dataclass, replace

from enliven.diffusion.clips import ClipGeometry
from enliven.diffusion.guidance import Guidance
from enliven.diffusion.sample import AnchorSchedule, EvenSchedule, even_anchors
from enliven.diffusion.solvers import Renoise, UniPC
from enliven.models.networks import NetworkParams
from enliven.models.vae import TOON_16, TOON_16_EFFICIENT
from enliven.models.wan import WanParams
from enliven.models.wan_audio import WanAudioParams
from enliven.models.wan_autoencoder import EVAE, WAN_2_2
from enliven.models.whisper import WhisperParams
from enliven.systems.carry import RepairLatents
from enliven.systems.longcat import LONGCAT, LONGCAT_TOON
from enliven.systems.sizes import KeepArea
from enliven.systems.spec import ModelSpec
from enliven.types import AttentionRule, LatentLayout, Role


@dataclass(frozen=True, slots=True)
class PivotalFrame:
    """A picture at time 0, the clip behind it from time 1 on; all frames see each other.

    To the network a pivot is the first frame of an ordinary clip, which is what Wan was trained on.
    """

    def __call__(self, *, frames: int, context: int, reference: bool) -> LatentLayout:
        """The layout of ``frames`` latent frames, ``context`` of them given, after a reference frame if any."""
        total = int(reference) + frames
        return LatentLayout(
            roles=(Role.REFERENCE,) * reference + (Role.CONTEXT,) * context + (Role.NOISE,) * (frames - context),
            positions=tuple(map(float, range(total))),
            attention=(AttentionRule(range(total), (range(total),)),),
        )


# What talking videos fail at, and behind it the list known from Wan in English.
FAILURES = (
    "lips that do not follow the voice, a mouth that moves in silence, a frozen mouth, an empty stare, eyes that never "
    "blink, a face that becomes another person, teeth that flicker, a body that stands stiff, hair that swims, a "
    "background that wobbles, colours that drift, a picture that slowly grows dark or grainy, a cut to another scene, "
)
NEGATIVE_PROMPT = FAILURES + (
    "gaudy colours, overexposed, static, blurred details, subtitles, style, artwork, painting, still picture, grey "
    "overall, worst quality, low quality, JPEG artefacts, ugly, mutilated, extra fingers, badly drawn hands, badly "
    "drawn face, deformed, disfigured, malformed limbs, fused fingers, motionless picture, cluttered background, three "
    "legs, a crowd in the background, walking backwards"
)

SOUL = ModelSpec(
    name="soul",
    summary="Soul: up to 1080p, 25 frames a second; for a large GPU",
    params=NetworkParams(
        backbone=WanParams(audio=WanAudioParams()),
        autoencoder=WAN_2_2,
        audio=WhisperParams(),
        text=LONGCAT.params.text,
        decoders={"efficient": EVAE},
    ),
    geometry=ClipGeometry(frames=108, context=8, fps=25, pivot=True),
    arrange=PivotalFrame(),
    carry=RepairLatents(),
    guidance=Guidance(5.0, 5.0),
    schedule=EvenSchedule(5.0),
    steps=25,
    size=(1088, 1920),
    solver=UniPC(),
    choose_size=KeepArea(1088 * 1920, 32),
    side_step=32,
    negative_prompt=NEGATIVE_PROMPT,
    voices=1,
    soundless="null",
)

SOUL_FAST = replace(
    SOUL,
    name="soul-fast",
    summary="Soul in 4 steps without guidance, with the efficient decoder; for a large GPU",
    guidance=Guidance(1.0, 1.0),
    schedule=AnchorSchedule((1.0, 0.75, 0.5, 0.25), 5.0),
    steps=4,
    solver=Renoise(),
    decoder="efficient",
    teacher=SOUL.name,
)

# Clips of 12 latent frames instead of 27: 2 seconds hold a phrase, a small network learns what is near in time first,
# attention costs a quarter, and the first frames can be seen sooner.
SOUL_TOON = ModelSpec(
    name="soul-toon",
    summary="drawn people at 256 x 256, 25 frames a second; small enough for a laptop",
    params=NetworkParams(
        backbone=WanParams(
            in_channels=TOON_16.channels,
            out_channels=TOON_16.channels,
            num_attention_heads=3,
            attention_head_dim=64,
            num_layers=6,
            ffn_dim=768,
            text_dim=96,
            freq_dim=128,
            predicts="clean",
            audio=WanAudioParams(audio_block=4, audio_channel=96, intermediate_dim=128, gate_init=1.0),
        ),
        autoencoder=TOON_16,
        audio=WhisperParams(
            config={
                "d_model": 96,
                "encoder_layers": 3,
                "encoder_attention_heads": 4,
                "encoder_ffn_dim": 384,
                "num_mel_bins": 80,
                "max_source_positions": 250,
            }
        ),
        text=LONGCAT_TOON.params.text,
        decoders={"efficient": TOON_16_EFFICIENT},
    ),
    geometry=ClipGeometry(frames=48, context=8, fps=25, pivot=True),
    arrange=PivotalFrame(),
    carry=RepairLatents(),
    guidance=Guidance(1.25, 1.25),
    schedule=EvenSchedule(3.0),
    steps=2,
    size=(256, 256),
    solver=Renoise(),  # as in longcat-toon
    side_step=32,
    voices=1,
    soundless="null",
)

SOUL_TOON_4STEP = replace(
    SOUL_TOON,
    name="soul-toon-4step",
    summary="drawn people at 256 x 256 in 4 steps without guidance",
    guidance=Guidance(1.0, 1.0),
    schedule=AnchorSchedule(even_anchors(4), 3.0),
    steps=4,
    teacher=SOUL_TOON.name,
)
