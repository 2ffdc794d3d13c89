"""LongCat-Video: a sentence, a picture or a video becomes video without speech, and that is refined to 720p."""

from dataclasses import dataclass, replace

from enliven.diffusion.clips import ClipGeometry
from enliven.diffusion.guidance import ProjectedGuidance
from enliven.diffusion.sample import AnchorSchedule, DetailSchedule, LateSchedule, LinearSchedule, even_anchors
from enliven.models.longcat import LongCatParams
from enliven.models.releases import BASE
from enliven.systems.carry import Reencode
from enliven.systems.longcat import LONGCAT, ReferenceSkip
from enliven.systems.sizes import TrainedSize
from enliven.systems.spec import ModelSpec
from enliven.types import LatentLayout


@dataclass(frozen=True, slots=True)
class NoReference:
    """What is given sees only its own kind, noise sees all; nothing looks back at the beginning of the video."""

    def __call__(self, *, frames: int, context: int, reference: bool) -> LatentLayout:  # noqa: ARG002
        """The layout of ``frames`` latent frames, ``context`` of them given."""
        return ReferenceSkip(0, 0)(frames=frames, context=context, reference=False)


LONGCAT_VIDEO = ModelSpec(
    name="longcat-video",
    summary="LongCat-Video, without speech: from a prompt, picture or video, 480p, 15 frames a second; for a large GPU",
    params=replace(LONGCAT.params, backbone=LongCatParams(), audio=None),
    geometry=ClipGeometry(frames=93, context=13, fps=15),
    arrange=NoReference(),
    carry=Reencode(),
    guidance=ProjectedGuidance(4.0),
    schedule=LinearSchedule(12.0),
    continuation_schedule=DetailSchedule(LinearSchedule(12.0)),
    steps=50,
    size=(480, 832),
    choose_size=TrainedSize("480p"),
    negative_prompt=LONGCAT.negative_prompt.removeprefix("Close-up, "),
    release=BASE,
    variant="base",
    voices=0,
)

LONGCAT_VIDEO_FAST = replace(
    LONGCAT_VIDEO,
    name="longcat-video-fast",
    summary="LongCat-Video in 16 steps without guidance; for a large GPU",
    guidance=ProjectedGuidance(1.0),
    schedule=AnchorSchedule(even_anchors(50), 12.0),
    continuation_schedule=None,
    steps=16,
    distillation="cfg_step_lora",
)

# 93 frames become 186, which 48 latent frames hold; blocks of attention take them, those of the context (8) and the
# others (40) by four.
LONGCAT_VIDEO_720P = replace(
    LONGCAT_VIDEO,
    name="longcat-video-720p",
    summary="LongCat-Video refines a video that there is: 720p, 30 frames a second; for a large GPU",
    geometry=ClipGeometry(frames=189, context=29, fps=30),
    guidance=ProjectedGuidance(1.0),
    schedule=LateSchedule(LinearSchedule(12.0)),
    continuation_schedule=None,
    size=(704, 1280),
    choose_size=TrainedSize("720p", 64),
    side_step=64,
    distillation="refinement_lora",
    refines=True,
    attention="block-sparse",
)
