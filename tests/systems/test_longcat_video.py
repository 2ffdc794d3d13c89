"""The base without speech, and its refinement, from folders as they are published."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from enliven.diffusion.clips import ClipGeometry, plan_clips
from enliven.media.buckets import BUCKETS
from enliven.media.image import fit_to, read_portrait
from enliven.media.mux import write_video
from enliven.models.lora import Adapter
from enliven.models.networks import load_networks, save_networks
from enliven.pipeline import AvatarPipeline, GenerateRequest, clip_noise
from enliven.runtime.choices import Choices
from enliven.runtime.kernel_block_sparse import BlockSparse
from enliven.systems import choose_model
from enliven.systems.footprint import example_pass, filled, model_needs, shapes_of
from enliven.systems.longcat_video import LONGCAT_VIDEO, LONGCAT_VIDEO_720P, LONGCAT_VIDEO_FAST, NoReference
from enliven.systems.spec import ModelSpec
from enliven.types import Role, Video
from golden_files import golden
from published_folders import miniature, write_base
from tiny import write_portrait

VIDEO = (LONGCAT_VIDEO, LONGCAT_VIDEO_FAST)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("published") / "renamed", miniature())


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """20 frames of noise at 15 frames a second."""
    noise = torch.randint(0, 256, (20, 3, 32, 48), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    write_video(Video(noise, 15.0), tmp_path / "film.mp4")
    return tmp_path / "film.mp4"


def opened(folder: Path, spec: ModelSpec, **choices: str) -> AvatarPipeline:
    """The model of the folder; shorter clips of small pictures, all else as published."""
    loaded = AvatarPipeline.load(spec.name, Choices(weights=folder, **choices), device="cpu")
    assert loaded.spec == spec
    frames, context = (29, 13) if spec.refines else (17, 5)
    short = replace(spec, geometry=ClipGeometry(frames, context, spec.geometry.fps), choose_size=None, size=(32, 32))
    return AvatarPipeline(replace(short, steps=min(spec.steps, 3) if not spec.refines else 50), loaded.networks)


def test_what_is_given_sees_itself_and_nothing_looks_back() -> None:
    layout = NoReference()(frames=6, context=2, reference=True)
    assert layout.roles == (Role.CONTEXT,) * 2 + (Role.NOISE,) * 4
    assert layout.positions == tuple(range(6))
    assert [(rule.queries, rule.keys) for rule in layout.attention] == [
        (range(2), (range(2),)),
        (range(2, 6), (range(6),)),
    ]


def test_clips_are_as_published() -> None:
    """93 frames in 24 latents, 4 of them context; refined, 186 frames in 48 latents, and all counts divide by 4."""
    first, second = plan_clips(100, LONGCAT_VIDEO.geometry, LONGCAT_VIDEO.arrange)
    assert [(len(plan.layout), plan.layout.clean) for plan in (first, second)] == [(24, 0), (24, 4)]
    first, second = plan_clips(2 * 150, LONGCAT_VIDEO_720P.geometry, LONGCAT_VIDEO_720P.arrange)
    assert [(len(plan.layout), plan.layout.clean) for plan in (first, second)] == [(48, 0), (48, 8)]
    assert len(plan_clips(2 * 93, LONGCAT_VIDEO_720P.geometry, LONGCAT_VIDEO_720P.arrange)) == 1


def test_noise_levels_are_as_published() -> None:
    late = LONGCAT_VIDEO_720P.levels(continuing=True)
    assert [1000 * level for level in late] == pytest.approx([500, 443.022, 343.471, 207.772, 11.869, 0], abs=1e-3)
    assert len(LONGCAT_VIDEO.levels(continuing=False)) == 51
    assert len(LONGCAT_VIDEO.levels(continuing=True)) == 57
    case = golden("schedule").case("avatar-v1.0_shift12_16_distill")
    expected = case.outputs["sigmas"].tolist()
    assert LONGCAT_VIDEO_FAST.levels(continuing=True) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("size", sorted(BUCKETS["720p", 64].values()))
def test_every_refined_size_can_be_cut_into_blocks(size: tuple[int, int]) -> None:
    rows, columns = (side // 16 for side in size)
    assert size == LONGCAT_VIDEO_720P.choose_size(*size)
    for frames in (8, 40, 48):
        tokens = torch.empty(1, 1, frames * rows * columns, 1, device="meta")
        blocks = BlockSparse().cut(tokens, (frames, rows, columns)).shape[2]
        assert int((1 - 0.9375) * blocks) > 0


@pytest.mark.parametrize("spec", [LONGCAT_VIDEO, LONGCAT_VIDEO_720P], ids=lambda spec: spec.name)
def test_the_published_network_takes_a_clip_of_its_size(spec: ModelSpec) -> None:
    backbone = shapes_of(spec.params.backbone)
    assert sum(each.numel() for each in backbone.parameters()) == 13_581_071_424
    backbone.blocks = backbone.blocks[:1]
    with FakeTensorMode(), torch.no_grad():
        given = example_pass(spec, dtype=torch.bfloat16)
        seen = given.run(filled(backbone, dtype=torch.bfloat16))
    height, width = (side // 8 for side in spec.size)
    assert seen.shape == given.latents.shape == (1, 16, spec.geometry.latents(spec.geometry.frames), height, width)
    assert set(model_needs(spec).parts) == {"backbone", "autoencoder", "text"}


def test_the_folder_is_for_the_base(folder: Path) -> None:
    assert choose_model(None, folder) is LONGCAT_VIDEO
    assert all(choose_model(spec.name, folder) is spec for spec in (*VIDEO, LONGCAT_VIDEO_720P))


@pytest.mark.parametrize("spec", VIDEO, ids=lambda spec: spec.name)
def test_a_prompt_becomes_a_video_of_any_length(folder: Path, spec: ModelSpec) -> None:
    pipeline = opened(folder, spec)
    request = GenerateRequest(prompt="a man talks", seconds=2.0)
    video = pipeline.generate(request)
    assert video.frames.shape == (30, 3, 32, 32)
    assert (video.fps, video.audio) == (15.0, None)
    assert video.frames.float().std() > 1
    other = pipeline.generate(replace(request, prompt="a hat"))
    assert not torch.equal(video.frames, other.frames)
    worn = [module for module in pipeline.networks.backbone.modules() if isinstance(module, Adapter)]
    assert len(worn) == (2 if spec.distillation else 0)


def test_a_picture_begins_and_a_video_goes_on(folder: Path, film: Path, tmp_path: Path) -> None:
    pipeline = opened(folder, LONGCAT_VIDEO)
    pictured = GenerateRequest(portrait=write_portrait(tmp_path / "me.png"), seconds=1.5)
    first, second = pipeline.clips(pipeline.spec, pipeline.encode(pictured, pipeline.spec), 0)
    autoencoder = pipeline.networks.autoencoder
    assert first.clip.layout.clean == 1
    assert torch.equal(first.clip.latents[:, :, :1], first.handover.reference)
    ending = first.frames[-5:].float() / 127.5 - 1
    assert torch.equal(second.clip.latents[:, :, :2], autoencoder.encode(ending.transpose(0, 1)[None]))
    assert len(first.frames) + len(second.frames) == round(1.5 * 15)
    going_on = GenerateRequest(video=film, seconds=1.0)
    encoded = pipeline.encode(going_on, pipeline.spec)
    (first, _) = pipeline.clips(pipeline.spec, encoded, 0)
    assert (first.clip.layout.clean, len(first.frames)) == (2, 12)
    assert torch.equal(first.clip.latents[:, :, :2], encoded.opening.context)


def test_a_picture_of_another_shape_is_cut_and_not_stretched(folder: Path, tmp_path: Path) -> None:
    pipeline = opened(folder, LONGCAT_VIDEO)
    portrait = write_portrait(tmp_path / "me.png", (40, 80))
    encoded = pipeline.encode(GenerateRequest(portrait=portrait, seconds=1.0), pipeline.spec)
    cut = fit_to(read_portrait(portrait), 32, 32)
    assert torch.equal(encoded.opening.reference, pipeline.networks.autoencoder.encode(cut[None, :, None]))


@dataclass(frozen=True, slots=True)
class Staying:
    """A solver that leaves everything as it begins."""

    def __call__(self, velocity: object, latents: Tensor, *rest: object) -> Tensor:
        return latents


def test_a_refinement_begins_half_way_from_the_draft(folder: Path, film: Path) -> None:
    """In a clip that continues another, too: its context is what was made, the rest is the draft."""
    pipeline = opened(folder, LONGCAT_VIDEO_720P)
    spec = replace(pipeline.spec, solver=Staying())
    encoded = pipeline.encode(GenerateRequest(draft=film), spec)
    assert encoded.draft is not None
    clips = list(pipeline.clips(spec, encoded, 3))
    assert [len(made.frames) for made in clips] == [29, 11]
    for made, clean in zip(clips, (0, 4), strict=True):
        frames = encoded.draft.frames(made.plan.hears)
        assert frames.shape[1] == 29
        draft = pipeline.networks.autoencoder.encode(frames[None])[:, :, clean:]
        begun = made.clip.latents[:, :, clean:]
        torch.testing.assert_close(begun, 0.5 * draft + 0.5 * clip_noise(3, made.plan.index, tuple(draft.shape)))
    again = clips[0].frames[-13:].float() / 127.5 - 1
    context = pipeline.networks.autoencoder.encode(again.transpose(0, 1)[None])
    assert torch.equal(clips[1].clip.latents[:, :, :4], context)


def test_a_refined_video_has_twice_the_frames_and_follows_its_seed(
    folder: Path, film: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        pipeline = opened(folder, LONGCAT_VIDEO_720P)
    assert "trained with block-sparse attention" in caplog.text
    assert pipeline.networks.backbone.blocks[0].attn.attend.kernel.__name__ == "sdpa"
    request = GenerateRequest(draft=film, prompt="a man talks", seed=1)
    video = pipeline.generate(request)
    assert video.frames.shape == (40, 3, 32, 32)
    assert video.fps == 30
    assert torch.equal(pipeline.generate(request).frames, video.frames)
    assert not torch.equal(pipeline.generate(replace(request, seed=2)).frames, video.frames)


def test_a_refinement_attends_in_blocks_where_it_can(folder: Path, film: Path) -> None:
    """16 latents of 8 x 8 tokens are 16 blocks, of which one is seen."""
    pipeline = opened(folder, LONGCAT_VIDEO_720P, attention="block-sparse-masked")
    wide = {"geometry": ClipGeometry(61, 29, 30), "size": (128, 128)}
    blocks = replace(pipeline.spec, **wide)
    frames = AvatarPipeline(blocks, pipeline.networks).generate(GenerateRequest(draft=film)).frames
    assert frames.shape == (40, 3, 128, 128)
    dense = opened(folder, LONGCAT_VIDEO_720P)
    seen = AvatarPipeline(blocks, dense.networks).generate(GenerateRequest(draft=film)).frames
    assert not torch.equal(frames, seen)


def test_a_saved_model_that_hears_nothing_is_read_again(folder: Path, tmp_path: Path) -> None:
    save_networks(load_networks(folder), tmp_path / "saved")
    assert not (tmp_path / "saved" / "audio").exists()
    pipeline = AvatarPipeline.load("longcat-video", Choices(weights=tmp_path / "saved"), device="cpu")
    assert pipeline.networks.audio is None
    assert "audio" not in pipeline.networks.parts
