from dataclasses import replace
from pathlib import Path

import pytest
import torch

from enliven.errors import Cancelled
from enliven.media.image import to_pixels
from enliven.media.mux import write_video
from enliven.pipeline import AvatarPipeline, GenerateRequest
from enliven.request import Scales
from enliven.systems.carry import Reencode
from enliven.types import Progress, Video
from tiny import tiny_networks, tiny_spec, write_portrait, write_speech


@pytest.fixture(scope="module")
def pipeline() -> AvatarPipeline:
    return AvatarPipeline(tiny_spec(), tiny_networks())


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_speech(tmp_path_factory.mktemp("speech") / "speech.wav", 1.3)


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_portrait(tmp_path_factory.mktemp("portrait") / "portrait.png")


def test_a_portrait_speaks_as_long_as_the_sound(pipeline: AvatarPipeline, speech: Path, portrait: Path) -> None:
    video = pipeline.generate(GenerateRequest(audio=(speech,), portrait=portrait, prompt="a man"))
    assert video.frames.shape == (32, 3, 32, 32)
    assert video.fps == 25
    assert video.audio is not None
    assert video.audio.seconds == pytest.approx(1.3)


@pytest.mark.parametrize("frames", [1, 17, 18, 41])
def test_any_number_of_frames(pipeline: AvatarPipeline, frames: int) -> None:
    request = GenerateRequest(seconds=frames / 25, steps=1)
    assert len(pipeline.generate(request).frames) == frames


def test_the_video_begins_with_the_portrait(pipeline: AvatarPipeline, portrait: Path) -> None:
    encoded = pipeline.encode(GenerateRequest(seconds=0.5, portrait=portrait), pipeline.spec)
    assert encoded.opening is not None
    first = pipeline.generate(GenerateRequest(seconds=0.5, portrait=portrait)).frames[0]
    expected = to_pixels(pipeline.networks.autoencoder.decode(encoded.opening.reference)[0, :, 0])
    assert torch.equal(first, expected)


def test_the_stream_is_one_causal_video(pipeline: AvatarPipeline, speech: Path, portrait: Path) -> None:
    """Decoding clip by clip gives what decoding all latents at once gives: nothing is lost at the seams."""
    spec = replace(pipeline.spec, steps=1)
    encoded = pipeline.encode(GenerateRequest(audio=(speech,), portrait=portrait), spec)
    clips = list(pipeline.clips(spec, encoded, seed=3))
    assert [len(clip.frames) for clip in clips] == [17, 12, 3]
    parts = [made.clip.latents[:, :, made.clip.layout.clean if made.plan.context else 0 :] for made in clips]
    whole = pipeline.networks.autoencoder.decode(torch.cat(parts, 2))[0, :, :32].transpose(0, 1)
    joined = torch.cat([made.frames for made in clips])
    assert (joined.int() - to_pixels(whole).int()).abs().max() <= 1


def test_clips_carry_reference_and_context_on(pipeline: AvatarPipeline, speech: Path, portrait: Path) -> None:
    spec = replace(pipeline.spec, steps=1)
    encoded = pipeline.encode(GenerateRequest(audio=(speech,), portrait=portrait), spec)
    first, second, _ = (made.clip.latents for made in pipeline.clips(spec, encoded, seed=3))
    assert torch.equal(second[:, :, :1], first[:, :, :1])
    assert torch.equal(second[:, :, 1:3], first[:, :, -2:])


def test_making_goes_on_after_any_clip(pipeline: AvatarPipeline, speech: Path) -> None:
    spec = replace(pipeline.spec, steps=1)
    encoded = pipeline.encode(GenerateRequest(audio=(speech,)), spec)
    clips = list(pipeline.clips(spec, encoded, seed=3))
    again = list(pipeline.clips(spec, encoded, seed=3, after=(0, clips[0].handover)))
    assert all(torch.equal(made.frames, before.frames) for made, before in zip(again, clips[1:], strict=True))


def test_randomness_belongs_to_seed_and_clip(pipeline: AvatarPipeline, speech: Path) -> None:
    request = GenerateRequest(audio=(speech,), steps=1, seed=5)
    video = pipeline.generate(request)
    torch.randn(100)
    assert torch.equal(pipeline.generate(request).frames, video.frames)
    assert not torch.equal(pipeline.generate(replace(request, seed=6)).frames, video.frames)


def test_what_is_heard_is_seen(pipeline: AvatarPipeline, speech: Path) -> None:
    loud, silent = (GenerateRequest(audio=audio, seconds=0.6, steps=1) for audio in ((speech,), ()))
    assert not torch.equal(pipeline.generate(loud).frames, pipeline.generate(silent).frames)


def test_a_video_goes_on(pipeline: AvatarPipeline, speech: Path, tmp_path: Path) -> None:
    before = tmp_path / "before.mp4"
    write_video(Video(torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8), 25.0), before)
    request = GenerateRequest(audio=(speech,), video=before, steps=1)
    encoded = pipeline.encode(request, pipeline.spec)
    assert encoded.opening is not None
    first, *others = pipeline.clips(request.apply(pipeline.spec), encoded, seed=0)
    assert torch.equal(first.clip.latents[:, :, :1], encoded.opening.reference)
    assert torch.equal(first.clip.latents[:, :, 1:3], encoded.opening.context)
    assert [len(made.frames) for made in (first, *others)] == [12, 12, 8]


def test_encoding_again_is_another_way_to_go_on(pipeline: AvatarPipeline, speech: Path) -> None:
    request = GenerateRequest(audio=(speech,), steps=1)
    other = AvatarPipeline(tiny_spec(carry=Reencode()), pipeline.networks)
    kept, again = pipeline.generate(request).frames, other.generate(request).frames
    assert kept.shape == again.shape
    assert torch.equal(kept[:17], again[:17])
    assert not torch.equal(kept[17:], again[17:])


def test_progress_counts_every_step(pipeline: AvatarPipeline, speech: Path) -> None:
    heard: list[Progress] = []
    pipeline.generate(GenerateRequest(audio=(speech,), steps=2), heard.append)
    making = [progress for progress in heard if progress.stage == "making the video"]
    assert [progress.done for progress in making] == [1, 2, 3, 4, 5, 6]
    assert {progress.total for progress in making} == {6}


def test_the_listener_may_stop_it(pipeline: AvatarPipeline, speech: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.done == 3:
            raise Cancelled("enough")

    clips = pipeline.stream(GenerateRequest(audio=(speech,), steps=2), stop)
    assert len(next(clips).frames) == 17
    with pytest.raises(Cancelled):
        next(clips)


def test_guidance_of_the_request_is_used(pipeline: AvatarPipeline, speech: Path) -> None:
    request = GenerateRequest(audio=(speech,), steps=1, seconds=0.4)
    stronger = replace(request, guidance=Scales(audio=6.0))
    assert not torch.equal(pipeline.generate(request).frames, pipeline.generate(stronger).frames)
