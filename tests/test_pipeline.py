from dataclasses import replace
from pathlib import Path

import pytest
import torch

from enliven.diffusion.solvers import Renoise
from enliven.errors import Cancelled, RequestError, WeightsError
from enliven.media.image import to_pixels
from enliven.media.mux import write_video
from enliven.media.regions import Box
from enliven.media.voices import Turns
from enliven.pipeline import AvatarPipeline, GenerateRequest, clip_noise
from enliven.request import Scales, Scene
from enliven.systems.carry import KeepLatents, Reencode
from enliven.types import Progress, Video
from tiny import tiny_networks, tiny_soul, tiny_soul_networks, tiny_spec, write_portrait, write_speech


@pytest.fixture(scope="module")
def pipeline() -> AvatarPipeline:
    return AvatarPipeline(tiny_spec(), tiny_networks())


@pytest.fixture(scope="module")
def soul() -> AvatarPipeline:
    return AvatarPipeline(tiny_soul(), tiny_soul_networks())


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


@pytest.mark.parametrize("frames", [1, 8, 16, 17, 24, 25, 33])
@pytest.mark.parametrize("pictured", [True, False])
def test_any_number_of_frames_behind_a_pivot(soul: AvatarPipeline, portrait: Path, frames: int, pictured: bool) -> None:
    request = GenerateRequest(seconds=frames / 25, steps=1, portrait=portrait if pictured else None)
    assert len(soul.generate(request).frames) == frames


def test_a_pivot_is_seen_by_every_clip_and_shown_by_none(soul: AvatarPipeline, portrait: Path) -> None:
    encoded = soul.encode(GenerateRequest(seconds=1.0, portrait=portrait), soul.spec)
    assert encoded.opening is not None
    clips = list(soul.clips(soul.spec, encoded, seed=3))
    assert [len(made.frames) for made in clips] == [16, 8, 1]
    for made in clips:
        assert torch.equal(made.clip.latents[:, :, :1], encoded.opening.reference)
    pictured = to_pixels(soul.networks.autoencoder.decode(encoded.opening.reference)[0, :, 0])
    assert not any(torch.equal(frame, pictured) for made in clips for frame in made.frames)


@pytest.mark.parametrize("pictured", [True, False])
def test_a_stream_behind_a_pivot_is_one_causal_video(soul: AvatarPipeline, portrait: Path, pictured: bool) -> None:
    """The pivot warms the decoder; without one, the first latent frame of the video is the first that is decoded."""
    request = GenerateRequest(seconds=1.3, portrait=portrait if pictured else None)
    clips = list(soul.clips(soul.spec, soul.encode(request, soul.spec), seed=3))
    latents = [clips[0].clip.latents, *(made.clip.latents[:, :, 3:] for made in clips[1:])]
    whole = to_pixels(soul.networks.autoencoder.decode(torch.cat(latents, 2))[0].transpose(0, 1))[int(pictured) :]
    joined = torch.cat([made.frames for made in clips])
    assert (joined.int() - whole[: len(joined)].int()).abs().max() <= 1


def test_the_first_latent_frame_becomes_the_pivot_where_there_is_no_picture(soul: AvatarPipeline) -> None:
    first, second = soul.clips(soul.spec, soul.encode(GenerateRequest(seconds=1.0), soul.spec), seed=3)
    assert torch.equal(second.clip.latents[:, :, :1], first.clip.latents[:, :, :1])


def test_what_a_clip_goes_on_from_is_repaired_and_what_it_showed_is_not(soul: AvatarPipeline, portrait: Path) -> None:
    encoded = soul.encode(GenerateRequest(seconds=0.9, portrait=portrait), soul.spec)
    first, second = soul.clips(soul.spec, encoded, seed=3)
    ending = first.clip.last(2)
    expected, clipped = soul.networks.codebook.repair(ending, 99.0)
    assert first.shares == {"clipped": clipped}
    assert clipped > 0.1
    assert torch.equal(second.clip.latents[:, :, 1:3], expected)
    assert not second.shares, "nothing goes on from the last clip"
    assert not second.handover.context.numel()
    plain = replace(soul.spec, carry=KeepLatents())
    kept = next(soul.clips(plain, encoded, seed=3))
    assert torch.equal(kept.frames, first.frames)
    assert not kept.shares


def test_a_model_that_repairs_needs_its_codebook_before_any_work(soul: AvatarPipeline) -> None:
    bare = AvatarPipeline(soul.spec, replace(soul.networks, codebook=None))
    with pytest.raises(WeightsError, match="no codebook"):
        bare.encode(GenerateRequest(seconds=1.0), soul.spec)


def test_another_decoder_shows_the_same_latents(soul: AvatarPipeline, portrait: Path) -> None:
    request = GenerateRequest(seconds=1.0, portrait=portrait, steps=1)
    made = {}
    for name in ("full", "efficient"):
        spec = replace(request, decoder=name).apply(soul.spec)
        made[name] = list(soul.clips(spec, soul.encode(replace(request, decoder=name), spec), seed=3))
    for full, other in zip(made["full"], made["efficient"], strict=True):
        assert torch.equal(full.clip.latents, other.clip.latents)
        assert not torch.equal(full.frames, other.frames)
    spec = replace(request, decoder="tiny").apply(soul.spec)
    with pytest.raises(RequestError, match="no decoder 'tiny'") as caught:
        soul.encode(request, spec)
    assert caught.value.hint == "choose one of full, efficient"


def test_a_student_draws_its_noise_from_seed_clip_and_step(soul: AvatarPipeline, portrait: Path) -> None:
    student = AvatarPipeline(replace(soul.spec, solver=Renoise(), steps=3), soul.networks)
    encoded = student.encode(GenerateRequest(seconds=1.0, portrait=portrait), student.spec)
    clips = list(student.clips(student.spec, encoded, seed=3))
    torch.randn(10)
    again = list(student.clips(student.spec, encoded, seed=3, after=(0, clips[0].handover)))
    assert all(torch.equal(one.frames, other.frames) for one, other in zip(clips[1:], again, strict=True))
    shape = (1, 1, 1, 1, 1)
    places = [(3, 0, shape), (3, 0, shape, 1), (3, 0, shape, 2), (3, 1, shape, 1), (3, 1, shape), (30, 1, shape)]
    assert len({clip_noise(*place).item() for place in places}) == len(places)


def test_a_video_goes_on_behind_a_pivot(soul: AvatarPipeline, speech: Path, portrait: Path, tmp_path: Path) -> None:
    before = tmp_path / "before.mp4"
    write_video(Video(torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8), 25.0), before)
    request = GenerateRequest(audio=(speech,), video=before, steps=1)
    encoded = soul.encode(request, soul.spec)
    assert encoded.opening is not None
    first, *others = soul.clips(request.apply(soul.spec), encoded, seed=0)
    assert torch.equal(first.clip.latents[:, :, :1], encoded.opening.reference)
    assert torch.equal(first.clip.latents[:, :, 1:3], encoded.opening.context)
    assert [len(made.frames) for made in (first, *others)] == [8, 8, 8, 8]
    other = soul.encode(replace(request, portrait=portrait), soul.spec)
    assert other.opening is not None
    assert not torch.equal(other.opening.reference, encoded.opening.reference)
    assert torch.equal(other.opening.context, encoded.opening.context)


@pytest.mark.parametrize("pictured", [True, False])
def test_encoding_again_works_behind_a_pivot_too(soul: AvatarPipeline, portrait: Path, pictured: bool) -> None:
    other = AvatarPipeline(replace(soul.spec, carry=Reencode()), soul.networks)
    request = GenerateRequest(seconds=1.0, steps=1, portrait=portrait if pictured else None)
    assert len(other.generate(request).frames) == 25


def test_each_scene_is_told_to_its_own_clips(pipeline: AvatarPipeline, speech: Path) -> None:
    plain = GenerateRequest(audio=(speech,), prompt="a man", steps=1)
    scenes = replace(plain, timeline=(Scene(0.8, "a man with a hat"),))
    same, other = (list(pipeline.stream(request)) for request in (plain, scenes))
    assert torch.equal(same[0].frames, other[0].frames)
    assert not torch.equal(same[1].frames, other[1].frames)
    assert not torch.equal(same[2].frames, other[2].frames)


def test_two_people_speak_each_with_their_own_voice(pipeline: AvatarPipeline, speech: Path, portrait: Path) -> None:
    """Exchanged voices make another video, and so do exchanged places."""
    left, right = Box(0, 0, 40, 24), Box(0, 24, 40, 48)
    request = GenerateRequest(audio=(speech, None), portrait=portrait, speakers=(left, right), steps=1, seconds=0.6)
    video = pipeline.generate(request)
    assert video.frames.shape == (15, 3, 32, 32)
    for changed in (replace(request, audio=(None, speech)), replace(request, speakers=(right, left))):
        assert not torch.equal(pipeline.generate(changed).frames, video.frames)
    both = pipeline.generate(replace(request, audio=(speech, speech), turns=Turns.IN_TURN, seconds=None))
    assert both.audio is not None
    assert both.audio.seconds == pytest.approx(2.6, abs=0.001)
    assert both.frames.shape[0] == 65


def test_two_people_go_on_in_a_video(pipeline: AvatarPipeline, speech: Path, tmp_path: Path) -> None:
    before = tmp_path / "before.mp4"
    write_video(Video(torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8), 25.0), before)
    request = GenerateRequest(
        audio=(None, speech), video=before, speakers=(Box(0, 0, 32, 16), Box(0, 16, 32, 32)), steps=1
    )
    assert len(pipeline.generate(request).frames) == 32


def test_one_voice_is_heard_by_everybody_wherever_they_are(
    pipeline: AvatarPipeline, speech: Path, portrait: Path
) -> None:
    request = GenerateRequest(audio=(speech,), portrait=portrait, steps=1, seconds=0.4)
    placed = replace(request, speakers=(Box(0, 0, 9, 9),))
    assert torch.equal(pipeline.generate(request).frames, pipeline.generate(placed).frames)


def test_soul_hears_one_voice(soul: AvatarPipeline, speech: Path, portrait: Path) -> None:
    with pytest.raises(RequestError, match="tiny-soul hears one"):
        soul.generate(GenerateRequest(audio=(speech, speech), portrait=portrait))


@pytest.mark.parametrize("made", ["longcat", "soul"])
def test_a_shot_shows_its_portrait_and_nothing_of_what_came_before(
    pipeline: AvatarPipeline, soul: AvatarPipeline, speech: Path, portrait: Path, tmp_path: Path, made: str
) -> None:
    """Another prompt before the cut changes nothing after it, another portrait of the shot does."""
    maker = pipeline if made == "longcat" else soul
    first = GenerateRequest(audio=(speech,), prompt="a man", portrait=portrait, steps=1)
    shot = Scene(0.4, "a hat", portrait=write_portrait(tmp_path / "shot.png", (48, 40)))
    same, other, plain = (
        maker.generate(request).frames
        for request in (
            replace(first, timeline=(shot,)),
            replace(first, prompt="a woman", timeline=(shot,)),
            replace(first, timeline=(Scene(0.4, "a hat", cut=True),)),
        )
    )
    assert len(same) == 32
    assert not torch.equal(same[:10], other[:10])
    assert torch.equal(same[10:], other[10:])
    assert torch.equal(same[:10], plain[:10])
    assert not torch.equal(same[10:], plain[10:])
    encoded = maker.encode(replace(first, timeline=(shot,)), maker.spec)
    clips = list(maker.clips(replace(maker.spec, steps=1), encoded, seed=0))
    assert torch.equal(clips[0].handover.reference, encoded.opening.reference)
    assert all(torch.equal(made.handover.reference, encoded.portraits[1]) for made in clips[1:])
    assert [made.handover.context.shape[2] for made in clips] == [0, *[2] * (len(clips) - 2), 0]


def test_a_shot_begins_as_a_video_does(pipeline: AvatarPipeline, portrait: Path, tmp_path: Path) -> None:
    shot = write_portrait(tmp_path / "shot.png", (48, 40))
    request = GenerateRequest(seconds=1.0, portrait=portrait, timeline=(Scene(0.4, "a", portrait=shot),), steps=1)
    begun = pipeline.generate(GenerateRequest(seconds=0.4, portrait=shot, steps=1)).frames[0]
    assert torch.equal(pipeline.generate(request).frames[10], begun)
