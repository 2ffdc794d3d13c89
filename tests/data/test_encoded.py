"""Tests of encoded clips: pictures, features and mouth of the same frames."""

from pathlib import Path

import pytest
import torch

from enliven.data.clips import make_clip
from enliven.data.encoded import EncodedClip, encode_clip, load_encoded, save_encoded
from enliven.data.sights import make_sight
from enliven.models.networks import Networks
from enliven.toonworld.voice import Phone, Speech
from tiny import tiny_networks

FRAMES = 13


@pytest.fixture(scope="module")
def networks() -> Networks:
    return tiny_networks()


def encoded(networks: Networks, *, silent: bool) -> EncodedClip:
    speech = None if silent else Speech(0.3 * torch.randn(8000), (Phone("æ", 0.0, 0.5),), "ah", "v")
    clip = make_clip(3, speech, frames=FRAMES, size=(16, 16))
    return encode_clip(clip, networks.autoencoder, networks.audio)


def test_every_part_is_of_the_same_frames(networks: Networks) -> None:
    clip = make_clip(3, None, frames=FRAMES, size=(16, 16))
    told = encoded(networks, silent=True)
    assert told.latents.shape == (4, 4, 2, 2)
    assert told.references.shape == (4, 4, 2, 2)
    assert told.reference_frames.tolist() == [0, 4, 8, 12]
    assert told.audio.shape == (FRAMES, 2, 16)
    assert torch.equal(told.mouth[:, 0], clip.state.mouth_open)
    torch.testing.assert_close(told.references[0], told.latents[:, 0])
    picture = (clip.frames[8].float() / 127.5 - 1)[None, :, None]
    torch.testing.assert_close(told.references[2], networks.autoencoder.encode(picture)[0, :, 0])


def test_silence_is_heard_as_silence_and_not_as_nothing(networks: Networks) -> None:
    told = encoded(networks, silent=True)
    assert told.silent
    assert (told.audio.abs().amax(dim=(1, 2)) > 0).all()
    assert not torch.equal(told.audio, encoded(networks, silent=False).audio)


def test_nothing_is_heard_of_what_has_no_sound(networks: Networks) -> None:
    told = encode_clip(make_sight(1, frames=FRAMES, size=(16, 16)), networks.autoencoder, networks.audio)
    assert told.audio.shape == (FRAMES, 2, 16)
    assert not told.audio.any()
    assert not told.silent


def test_two_silences_do_not_sound_alike(networks: Networks) -> None:
    clip = make_clip(3, None, frames=FRAMES, size=(16, 16))
    one, other = (encode_clip(clip, networks.autoencoder, networks.audio, seed=seed).audio for seed in (0, 1))
    assert not torch.equal(one, other)


def test_the_disk_gives_back_what_it_took(networks: Networks, tmp_path: Path) -> None:
    told = encoded(networks, silent=False)
    save_encoded(told, tmp_path / "one.safetensors")
    back = load_encoded(tmp_path / "one.safetensors")
    for name in ("latents", "references", "audio", "mouth"):
        assert getattr(back, name).dtype == torch.float32
        torch.testing.assert_close(getattr(back, name), getattr(told, name), atol=2e-3, rtol=2e-3)
    assert torch.equal(back.reference_frames, told.reference_frames)
    assert (back.caption, back.silent) == (told.caption, told.silent)
