"""Whole generations of the published pipelines, on random weights and a stub autoencoder, through ours.

The published continuation overwrites context latents with re-encoded ones before decoding, which our decoder has no
need of: only noise frames are compared there. Its guidance without a cache (``vc_nokv``) measures the scale of
CFG-Zero* over context frames too, whose velocity nobody uses and ours does not compute: there the network of the test
does compute it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from enliven.diffusion.clips import ClipGeometry, plan_clips
from enliven.diffusion.guidance import Guidance
from enliven.diffusion.sample import AnchorSchedule, DetailSchedule, LinearSchedule
from enliven.encode import Encoded, Handover, Voice
from enliven.models.audio import SpeechFeatures
from enliven.models.backbone import ClipCache
from enliven.models.longcat import LongCat, LongCatParams
from enliven.models.networks import Networks
from enliven.models.speakers import band_two
from enliven.pipeline import AvatarPipeline
from enliven.systems.carry import KeepLatents, Reencode
from enliven.systems.longcat import ReferenceSkip
from enliven.systems.longcat_video import LONGCAT_VIDEO, LONGCAT_VIDEO_FAST
from enliven.systems.spec import ModelSpec
from enliven.types import ClipPlan, Conditioning, LatentLayout, Text
from golden_files import Case, Golden, golden
from tiny import tiny_networks, tiny_spec

GEOMETRY = ClipGeometry(frames=25, context=5, fps=16)
EIGHT = AnchorSchedule(tuple(1 - 125 * index / 999 for index in range(8)), 7.0)


class GivenLatents(nn.Module):
    """An autoencoder that knows one answer; its pictures are black."""

    channels, spatial_factor, temporal_factor = 4, 8, 4

    def __init__(self, latents: Tensor | None) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.zeros(1))  # it is somewhere, as every network
        self.latents = latents

    def encode(self, video: Tensor) -> Tensor:
        if self.latents is None:  # nobody asks what a last clip hands on
            return torch.zeros(1, 4, (video.shape[2] + 3) // 4, 6, 8)
        assert video.shape[2] == 4 * self.latents.shape[2] - 3
        return self.latents

    def decode(self, latents: Tensor) -> Tensor:
        return self.stream().push(latents)

    def stream(self, state: Mapping[str, Tensor] | None = None) -> "GivenStream":
        return GivenStream(first=not state)


class GivenStream:
    def __init__(self, *, first: bool) -> None:
        self.first = first

    def push(self, latents: Tensor) -> Tensor:
        return torch.zeros(1, 3, 4 * latents.shape[2] - 3 * self.first, 48, 64)

    def state(self) -> dict[str, Tensor]:
        return {"begun": torch.ones(1)}


@dataclass(frozen=True, slots=True)
class GivenVoice(Voice):
    """Windows of features that were recorded, one tensor a clip; all voices in one."""

    recorded: tuple[Tensor, ...] = ()

    def heard(self, plan: ClipPlan) -> Tensor:
        return self.recorded[plan.index][None]


@dataclass(frozen=True, slots=True)
class GivenRegions(Encoded):
    """What was recorded says who is where, too."""

    shown: Tensor | None = None

    def told(self, plan: ClipPlan, device: torch.device) -> Conditioning:
        return replace(Encoded.told(self, plan, device), regions=self.shown)


class Outspoken(LongCat):
    """Gives the velocity of clean frames as well, which the published network computes and nobody uses."""

    def forward(
        self,
        latents: Tensor,
        sigma: Tensor,
        cond: Conditioning,
        layout: LatentLayout,
        cache: ClipCache | None = None,
    ) -> Tensor:
        x, given = self._embed(latents, sigma, cond, layout)
        return -self.final_layer(self._run(x, given), given.time, latents.shape[3] // 2)


def normalised(case: Case, name: str) -> Tensor | None:
    if name not in case.inputs:
        return None
    mean, std = (case.inputs[f"latents_{which}"].float().view(1, -1, 1, 1, 1) for which in ("mean", "std"))
    return (case.inputs[name].float() - mean) / std


def made(
    case: Case,
    recorded: Golden,
    spec: ModelSpec,
    monkeypatch: pytest.MonkeyPatch,
    clips: int = 1,
    network: type[LongCat] = LongCat,
) -> list[Tensor]:
    """The latents of each clip that our pipeline makes of a case."""
    kind = "LongCatAvatar" if "audio_window" in recorded.config else "LongCat"
    backbone = network(LongCatParams.from_config(recorded.config | {"_class_name": kind})).eval()
    backbone.banding = band_two
    backbone.load_state_dict(recorded.state_dict)
    spare, image, context = tiny_networks(), normalised(case, "z_image"), normalised(case, "z_cond")
    networks = Networks(backbone, GivenLatents(context), spare.text, spare.audio)
    opening = None if image is None else Handover(image, image)
    continuing = case.args.get("mode") == "vc"
    if continuing and context is not None:
        opening = Handover(context[:, :, :1], context)
    total = 25 + 20 * (clips - 1) - (5 if continuing else 0)
    plans = plan_clips(total, GEOMETRY, spec.arrange, portrait=image is not None, continuing=continuing)
    assert len(plans) == clips
    voice = tuple(case.inputs[f"audio_emb{index}"] for index in range(clips) if spec.voices != 0)
    regions = case.inputs.get("ref_target_masks")
    encoded = GivenRegions(
        plans=plans,
        size=(48, 64),
        prompts=("",) * clips,
        texts={"": Text(case.inputs["prompt_embeds"][:, 0], case.inputs["prompt_mask"].bool())},
        null_text=Text(case.inputs["neg_embeds"][:, 0], case.inputs["neg_mask"].bool()),
        voice=GivenVoice((SpeechFeatures(torch.zeros(1, 1, 16), 16.0),), 1, 5, voice) if voice else None,
        opening=opening,
        shown=None if regions is None else regions[None] > 0,
    )

    def noise(seed: int, index: int, shape: tuple[int, ...]) -> Tensor:
        drawn = case.inputs["noise" if "noise" in case.inputs else f"noise{index}"]
        return drawn[:, :, drawn.shape[2] - shape[2] :]

    monkeypatch.setattr("enliven.pipeline.clip_noise", noise)
    return [done.clip.latents for done in AvatarPipeline(spec, networks).clips(spec, encoded, seed=0)]


def close(ours: Tensor, published: Tensor, noise: int) -> None:
    torch.testing.assert_close(ours[:, :, -noise:], published[:, :, -noise:], atol=2e-4, rtol=0)


AVATAR = tiny_spec(
    geometry=GEOMETRY,
    arrange=ReferenceSkip(3, 1),
    carry=KeepLatents(),
    guidance=Guidance(4.0, 4.0),
    schedule=LinearSchedule(12.0),
    continuation_schedule=DetailSchedule(LinearSchedule(12.0)),
    steps=3,
)
DISTILLED = tiny_spec(
    geometry=GEOMETRY, arrange=ReferenceSkip(3, 1), carry=Reencode(), guidance=Guidance(), schedule=EIGHT, steps=8
)
VIDEO = replace(LONGCAT_VIDEO, geometry=GEOMETRY, steps=3)
VIDEO_FAST = replace(LONGCAT_VIDEO_FAST, geometry=GEOMETRY, steps=4)


def test_audio_and_text(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = golden("e2e_avatar")
    case = recorded.case("at2v_cfg")
    (latents,) = made(case, recorded, AVATAR, monkeypatch)
    close(latents, case.outputs["latents0"], 7)


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("v10_ai2v_avc_kv", AVATAR),
        ("v15_ai2v_avc_distill", DISTILLED),
        ("v10_multi_cfg", replace(AVATAR, continuation_schedule=None)),
        ("v15_multi3_distill_kv", replace(DISTILLED, arrange=ReferenceSkip(30, 3))),
    ],
)
def test_portrait_and_continuation(name: str, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = golden("e2e_avatar")
    case = recorded.case(name)
    first, second = made(case, recorded, spec, monkeypatch, clips=2)
    close(first, case.outputs["latents0"], 7)
    close(second, case.outputs["latents1"], 5)


@pytest.mark.parametrize(
    ("name", "spec", "noise"), [("t2v", VIDEO, 7), ("i2v_distill", VIDEO_FAST, 7), ("vc_kv_hf", VIDEO, 5)]
)
def test_base(name: str, spec: ModelSpec, noise: int, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = golden("e2e_base")
    case = recorded.case(name)
    (latents,) = made(case, recorded, spec, monkeypatch)
    close(latents, case.outputs["latents"], noise)


def test_base_continuation_whose_guidance_measures_clean_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = golden("e2e_base")
    case = recorded.case("vc_nokv")
    spec = replace(VIDEO, continuation_schedule=None)
    (latents,) = made(case, recorded, spec, monkeypatch, network=Outspoken)
    close(latents, case.outputs["latents"], 5)
