from pathlib import Path

import pytest
import torch

from enliven.diffusion.clips import ClipGeometry
from enliven.encode import encode
from enliven.errors import ConfigError, MediaError
from enliven.media.mux import write_video
from enliven.media.video import read_video
from enliven.models.networks import Networks
from enliven.request import GenerateRequest
from enliven.systems.carry import Carry, KeepLatents, Reencode
from enliven.types import Video
from tiny import tiny_networks, tiny_spec, write_portrait, write_speech


@pytest.fixture(scope="module")
def networks() -> Networks:
    return tiny_networks()


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
    assert torch.equal(heard[0, 0, :, 2], encoded.voice.features.features[12:29])


def test_what_the_speech_leaves_empty_is_silence(networks: Networks, speech: Path) -> None:
    """The last clip is made at full length; behind the speech it must hear silence, not the last sound held."""
    encoded = encode(GenerateRequest(audio=(speech,), seconds=4.0), tiny_spec(), networks)
    late = encoded.voice.heard(encoded.plans[-1])[0, 0, :, 2]
    silence = encode(GenerateRequest(seconds=4.0), tiny_spec(), networks)
    quiet = silence.voice.heard(silence.plans[-1])
    assert quiet.abs().max() > 0
    assert not torch.equal(late, encoded.voice.features.features[31].expand_as(late))
    assert len(encoded.voice.features.features) >= encoded.plans[-1].hears.stop


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
    """Latents that go on as they are hold moving frames; the first latent of what is encoded holds a still one."""
    before = tmp_path / "before.mp4"
    write_video(Video(torch.randint(0, 256, (frames, 3, 32, 32), dtype=torch.uint8), 25.0), before)
    opening = encode(GenerateRequest(seconds=1.0, video=before), tiny_spec(carry=carry), networks).opening
    assert opening is not None
    latents = networks.autoencoder.encode((read_video(before).frames[-read:] / 127.5 - 1).transpose(0, 1)[None])
    torch.testing.assert_close(opening.context, latents[:, :, -2:])
    stream = networks.autoencoder.stream()
    stream.push(latents)
    for name, value in stream.state().items():
        torch.testing.assert_close(opening.decoder[name], value)


def test_a_video_shorter_than_the_context_is_refused(networks: Networks, tmp_path: Path) -> None:
    before = tmp_path / "before.mp4"
    write_video(Video(torch.zeros(4, 3, 32, 32, dtype=torch.uint8), 25.0), before)
    with pytest.raises(MediaError, match="4 frames at 25 fps; at least 5"):
        encode(GenerateRequest(seconds=1.0, video=before), tiny_spec(), networks)


def test_rates_that_do_not_fit_are_refused(networks: Networks) -> None:
    spec = tiny_spec(geometry=ClipGeometry(frames=17, context=5, fps=16))
    with pytest.raises(ConfigError, match="25 audio features a second"):
        encode(GenerateRequest(seconds=1.0), spec, networks)
