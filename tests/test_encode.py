from pathlib import Path

import pytest
import torch

from enliven.diffusion.clips import ClipGeometry, plan_clips
from enliven.diffusion.guidance import Guidance
from enliven.encode import check_readable, encode
from enliven.errors import ConfigError, MediaError, RequestError
from enliven.media.image import fit_to, read_portrait, to_image
from enliven.media.mux import write_video
from enliven.media.regions import Box
from enliven.media.video import read_video
from enliven.media.voices import Turns
from enliven.models.networks import Networks
from enliven.request import GenerateRequest, Scene
from enliven.systems.carry import Carry, KeepLatents, Reencode
from enliven.toonworld.state import FaceState
from enliven.types import Video
from tiny import tiny_networks, tiny_soul, tiny_soul_networks, tiny_spec, write_portrait, write_speech
from toon_people import PEOPLE, drawn


@pytest.fixture(scope="module")
def networks() -> Networks:
    return tiny_networks()


@pytest.fixture(scope="module")
def soul_networks() -> Networks:
    return tiny_soul_networks()


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_speech(tmp_path_factory.mktemp("speech") / "speech.wav", 1.3)


def test_the_video_is_as_long_as_the_speech_or_as_asked(networks: Networks, speech: Path) -> None:
    for request, frames in (
        (GenerateRequest(audio=(speech,)), 32),
        (GenerateRequest(audio=(speech,), seconds=0.5), 12),
        (GenerateRequest(audio=(speech,), seconds=2.0), 50),
        (GenerateRequest(seconds=0.001), 1),
    ):
        assert encode(request, tiny_spec(), networks).plans[-1].emits.stop == frames


def test_each_clip_hears_its_own_frames(networks: Networks, speech: Path) -> None:
    encoded = encode(GenerateRequest(audio=(speech,)), tiny_spec(), networks)
    plan = encoded.plans[1]
    assert plan.hears == range(12, 29)
    heard = encoded.voice.heard(plan)
    assert heard.shape == (1, 1, 17, 5, 2, 16)
    assert torch.equal(heard[0, 0, :, 2], encoded.voice.features[0].features[12:29])


def test_what_the_speech_leaves_empty_is_silence(networks: Networks, speech: Path) -> None:
    """The last clip is made at full length; behind the speech it must hear silence, not the last sound held."""
    encoded = encode(GenerateRequest(audio=(speech,), seconds=4.0), tiny_spec(), networks)
    late = encoded.voice.heard(encoded.plans[-1])[0, 0, :, 2]
    silence = encode(GenerateRequest(seconds=4.0), tiny_spec(), networks)
    quiet = silence.voice.heard(silence.plans[-1])
    assert quiet.abs().max() > 0
    assert not torch.equal(late, encoded.voice.features[0].features[31:32].expand_as(late))
    assert len(encoded.voice.features[0].features) >= encoded.plans[-1].hears.stop


def test_a_portrait_is_reference_and_first_latent(networks: Networks, tmp_path: Path) -> None:
    request = GenerateRequest(seconds=1.0, portrait=write_portrait(tmp_path / "portrait.png"))
    encoded = encode(request, tiny_spec(), networks)
    assert encoded.opening is not None
    assert encoded.opening.reference.shape == (1, 4, 1, 4, 4)
    assert torch.equal(encoded.opening.reference, encoded.opening.context)
    assert encoded.plans[0].layout.clean == 1


def test_the_first_frame_of_a_video_is_the_reference(networks: Networks, tmp_path: Path) -> None:
    before = tmp_path / "before.mp4"
    write_video(Video(torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8), 25.0), before)
    encoded = encode(GenerateRequest(seconds=1.0, video=before), tiny_spec(), networks)
    assert encoded.opening is not None
    pixels = (read_video(before).frames.float() / 127.5 - 1).transpose(0, 1)[None]
    torch.testing.assert_close(encoded.opening.reference, networks.autoencoder.encode(pixels[:, :, :1]))
    assert encoded.plans[0].context == 5


@pytest.mark.parametrize(
    ("frames", "carry", "read"),
    [(20, KeepLatents(), 9), (9, KeepLatents(), 9), (7, KeepLatents(), 5), (20, Reencode(), 5)],
)
def test_the_context_of_a_video_is_like_that_of_a_clip(
    networks: Networks, tmp_path: Path, frames: int, carry: Carry, read: int
) -> None:
    """Latents that go on as they are hold moving frames; the first latent of what is encoded holds a still one.

    Where frames are encoded again for every clip, they are also decoded again, by a decoder that remembers nothing.
    """
    before = tmp_path / "before.mp4"
    write_video(Video(torch.randint(0, 256, (frames, 3, 32, 32), dtype=torch.uint8), 25.0), before)
    opening = encode(GenerateRequest(seconds=1.0, video=before), tiny_spec(carry=carry), networks).opening
    assert opening is not None
    latents = networks.autoencoder.encode((read_video(before).frames[-read:] / 127.5 - 1).transpose(0, 1)[None])
    torch.testing.assert_close(opening.context, latents[:, :, -2:])
    stream = networks.autoencoder.stream()
    stream.push(latents)
    assert opening.decoder.keys() == (stream.state().keys() if carry.continuous else set())
    for name, value in opening.decoder.items():
        torch.testing.assert_close(value, stream.state()[name])


def test_a_video_shorter_than_the_context_is_refused(networks: Networks, tmp_path: Path) -> None:
    before = tmp_path / "before.mp4"
    write_video(Video(torch.zeros(4, 3, 32, 32, dtype=torch.uint8), 25.0), before)
    with pytest.raises(MediaError, match="4 frames at 25 fps; at least 5"):
        encode(GenerateRequest(seconds=1.0, video=before), tiny_spec(), networks)


def test_rates_that_do_not_fit_are_refused(networks: Networks) -> None:
    spec = tiny_spec(geometry=ClipGeometry(frames=17, context=5, fps=16))
    with pytest.raises(ConfigError, match="25 audio features a second"):
        encode(GenerateRequest(seconds=1.0), spec, networks)


def test_a_pivot_stands_before_the_video_and_has_warmed_the_decoder(soul_networks: Networks, tmp_path: Path) -> None:
    request = GenerateRequest(seconds=1.0, portrait=write_portrait(tmp_path / "portrait.png"))
    opening = encode(request, tiny_soul(), soul_networks).opening
    assert opening is not None
    assert opening.reference.shape == (1, 4, 1, 4, 4)
    assert opening.context.shape == (1, 4, 0, 4, 4)
    stream = soul_networks.autoencoder.stream()
    assert stream.push(opening.reference).shape[2] == 1
    for name, value in stream.state().items():
        torch.testing.assert_close(opening.decoder[name], value)


def test_the_first_frame_of_a_video_hears_the_first_of_the_speech(soul_networks: Networks, speech: Path) -> None:
    """Behind a pivot and with two features a frame: those at 2 f are the fifth in their windows of ten."""
    for portrait, frames in ((True, 16), (False, 17)):
        encoded = encode(GenerateRequest(audio=(speech,)), tiny_soul(), soul_networks)
        plans = plan_clips(33, tiny_soul().geometry, tiny_soul().arrange, portrait=portrait)
        features = encoded.voice.features[0].features[:]
        heard = encoded.voice.heard(plans[0])
        assert heard.shape == (1, 1, frames, 10, 3, 16)
        assert torch.equal(heard[0, 0, :, 4], features[0 : 2 * frames : 2])
        assert heard[0, 0, 0, :4].count_nonzero() == 0
        following = encoded.voice.heard(plans[1])[0, 0]
        start = 2 * (frames - 8)
        assert torch.equal(following[:, 4], features[start : start + 32 : 2])


@pytest.mark.parametrize(("frames", "read"), [(20, 9), (9, 9), (8, 5)])
def test_the_overlap_with_a_video_is_whole_latent_frames(
    soul_networks: Networks, tmp_path: Path, frames: int, read: int
) -> None:
    before = tmp_path / "before.mp4"
    write_video(Video(torch.randint(0, 256, (frames, 3, 32, 32), dtype=torch.uint8), 25.0), before)
    opening = encode(GenerateRequest(seconds=1.0, video=before), tiny_soul(), soul_networks).opening
    assert opening is not None
    latents = soul_networks.autoencoder.encode((read_video(before).frames[-read:] / 127.5 - 1).transpose(0, 1)[None])
    torch.testing.assert_close(opening.context, latents[:, :, -2:])


@pytest.mark.parametrize(
    ("timeline", "prompts"),
    [
        ((), "---"),
        ((Scene(0.0, "a"),), "aaa"),
        ((Scene(0.3, "a"),), "aaa"),
        ((Scene(0.36, "a"),), "-aa"),
        ((Scene(0.6, "a"), Scene(0.96, "b")), "-ab"),
        ((Scene(0.0, "a"), Scene(1.2, "b")), "aab"),
    ],
)
def test_a_clip_is_told_the_scene_that_fills_the_most_of_it(
    networks: Networks, timeline: tuple[Scene, ...], prompts: str
) -> None:
    """Clips of the tests add frames 0 to 16, 17 to 28 and 29 to 31, at 25 a second."""
    request = GenerateRequest(seconds=1.28, prompt="-", timeline=timeline)
    encoded = encode(request, tiny_spec(), networks)
    assert encoded.prompts == tuple(prompts)
    assert set(encoded.texts) == set(prompts)
    for plan, prompt in zip(encoded.plans, prompts, strict=True):
        told = encoded.told(plan, torch.device("cpu"))
        assert torch.equal(told.text.tokens, networks.text([prompt]).tokens)


def test_scenes_that_nobody_would_see_are_refused(networks: Networks, speech: Path) -> None:
    short = GenerateRequest(audio=(speech,), timeline=(Scene(0.2, "a"), Scene(0.4, "b")))
    with pytest.raises(RequestError, match=r"0\.2 seconds is too short") as caught:
        encode(short, tiny_spec(), networks)
    assert "0.48 seconds" in str(caught.value.hint)
    with pytest.raises(RequestError, match=r"starts at 5 seconds, but the video ends at 1\.28"):
        encode(GenerateRequest(audio=(speech,), timeline=(Scene(5.0, "a"),)), tiny_spec(), networks)


def test_each_person_is_heard_apart_and_has_a_place(networks: Networks, speech: Path, tmp_path: Path) -> None:
    other = write_speech(tmp_path / "other.wav", 0.6)
    request = GenerateRequest(
        audio=(speech, other),
        portrait=write_portrait(tmp_path / "us.png", (64, 96)),
        speakers=(Box(0, 0, 64, 48), Box(0, 48, 64, 96)),
        turns=Turns.IN_TURN,
    )
    encoded = encode(request, tiny_spec(), networks)
    assert encoded.size == (32, 48)
    assert encoded.plans[-1].emits.stop == 48  # 1.3 s, then 0.6 s
    plan = encoded.plans[0]
    heard = encoded.voice.heard(plan)
    assert heard.shape == (1, 2, 17, 5, 2, 16)
    alone = encode(GenerateRequest(audio=(speech,), seconds=1.9), tiny_spec(), networks)
    assert torch.equal(heard[:, :1], alone.voice.heard(plan))
    assert not torch.equal(heard[:, 1], heard[:, 0])
    assert heard[:, 1].abs().max() > 0  # silence is encoded, not null audio
    told = encoded.told(plan, torch.device("cpu"))
    assert told.regions is not None
    assert told.regions.shape == (1, 3, 32, 48)
    assert alone.told(plan, torch.device("cpu")).regions is None


def test_speech_is_encoded_once_and_kept(
    networks: Networks, speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENLIVEN_CACHE", str(tmp_path))
    first = encode(GenerateRequest(audio=(speech,)), tiny_spec(), networks)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 1
    monkeypatch.setattr(type(networks.audio), "listen", lambda *_: pytest.fail("encoded again"))
    again = encode(GenerateRequest(audio=(speech,)), tiny_spec(), networks)
    assert torch.equal(first.voice.heard(first.plans[1]), again.voice.heard(first.plans[1]))


def test_a_picture_that_is_no_drawing_is_named(
    networks: Networks, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encode(GenerateRequest(seconds=1.0, portrait=write_portrait(tmp_path / "me.png")), tiny_spec(), networks)
    assert caplog.messages == ["no drawn face is in the picture: photographs are outside what tiny has learnt"]
    caplog.clear()
    to_image(drawn(PEOPLE[0], FaceState.neutral(1))[0]).save(tmp_path / "drawn.png")
    encode(GenerateRequest(seconds=1.0, portrait=tmp_path / "drawn.png"), tiny_spec(), networks)
    assert not caplog.messages


def test_a_negative_prompt_without_guidance_is_told_to_change_nothing(
    networks: Networks, caplog: pytest.LogCaptureFixture
) -> None:
    request = GenerateRequest(seconds=1.0, negative_prompt="dull")
    encode(request, tiny_spec(), networks)
    assert not caplog.messages
    encode(request, tiny_spec(guidance=Guidance()), networks)
    assert caplog.messages == ["the negative prompt changes nothing: tiny is not guided"]
    caplog.clear()
    encode(GenerateRequest(seconds=1.0), tiny_spec(guidance=Guidance()), networks)
    assert not caplog.messages


def test_every_shot_begins_with_its_portrait_or_that_of_the_video(networks: Networks, tmp_path: Path) -> None:
    """Clips of the tests add 17 frames at first, then 12; a cut ends one early."""
    own = write_portrait(tmp_path / "own.png", (48, 40))
    timeline = (Scene(0.2, "a"), Scene(0.8, "b", cut=True), Scene(1.6, "c", portrait=own))
    request = GenerateRequest(seconds=3.0, portrait=write_portrait(tmp_path / "portrait.png"), timeline=timeline)
    encoded = encode(request, tiny_spec(), networks)
    assert [plan.emits.start for plan in encoded.plans] == [0, 17, 20, 37, 40, 57, 69]
    assert encoded.prompts == tuple("aabbccc")
    assert encoded.opening is not None
    assert encoded.portraits.keys() == {2, 4}
    assert torch.equal(encoded.portraits[2], encoded.opening.reference)
    picture = fit_to(read_portrait(own), *encoded.size)
    assert torch.equal(encoded.portraits[4], networks.autoencoder.encode(picture[None, :, None]))


@pytest.mark.parametrize("start", [0.01, 1.27])
def test_a_cut_without_a_frame_on_either_side_is_refused(networks: Networks, tmp_path: Path, start: float) -> None:
    timeline = (Scene(start, "a", cut=True),)
    request = GenerateRequest(seconds=1.28, portrait=write_portrait(tmp_path / "portrait.png"), timeline=timeline)
    with pytest.raises(RequestError, match=f"at {start} seconds begins with a cut, and there is no frame"):
        encode(request, tiny_spec(), networks)


def test_a_portrait_of_a_scene_that_cannot_be_read_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    timeline = (Scene(0.5, "a", portrait=tmp_path / "text.png"),)
    with pytest.raises(MediaError, match=r"text\.png"):
        check_readable(GenerateRequest(seconds=1.0, timeline=timeline))


def test_a_picture_that_has_to_be_enlarged_much_is_told(
    networks: Networks, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    portrait = write_portrait(tmp_path / "portrait.png", (40, 48))
    for side, told in ((48, False), (96, True)):
        caplog.clear()
        encode(GenerateRequest(seconds=0.4, portrait=portrait, height=side, width=side), tiny_spec(), networks)
        assert (f"a picture of 48x40 is enlarged to {side}x{side}" in caplog.text) == told
