"""Tests of encoded clips: pictures, features and mouth of the same frames."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from enliven.data.clips import make_clip
from enliven.data.encoded import EncodedClip, encode_clip, load_encoded, save_encoded
from enliven.data.groups import GroupClip, Talk, make_group
from enliven.data.sights import make_sight
from enliven.models.networks import Networks
from enliven.toonworld.voice import Phone, Speech
from tiny import tiny_networks

FRAMES = 13
SEED = torch.Generator().manual_seed(0)


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
    assert told.audio.shape == (1, FRAMES, 2, 16)
    assert torch.equal(told.mouth[0, :, 0], clip.state.mouth_open)
    torch.testing.assert_close(told.references[0], told.latents[:, 0])
    picture = (clip.frames[8].float() / 127.5 - 1)[None, :, None]
    torch.testing.assert_close(told.references[2], networks.autoencoder.encode(picture)[0, :, 0])


def test_silence_is_heard_as_silence_and_not_as_nothing(networks: Networks) -> None:
    told = encoded(networks, silent=True)
    assert told.silent
    assert (told.audio.abs().amax(dim=(2, 3)) > 0).all()
    assert not torch.equal(told.audio, encoded(networks, silent=False).audio)


def test_nothing_is_heard_of_what_has_no_sound(networks: Networks) -> None:
    told = encode_clip(make_sight(1, frames=FRAMES, size=(16, 16)), networks.autoencoder, networks.audio)
    assert told.audio.shape == (1, FRAMES, 2, 16)
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
    assert (back.caption, back.silent, back.heads) == (told.caption, told.silent, None)


def group(networks: Networks) -> tuple[GroupClip, EncodedClip]:
    """The first says nothing, the second speaks."""
    speech = Speech(0.3 * torch.randn(8000, generator=SEED), (Phone("æ", 0.0, 0.5),), "ah", "v")
    clip = make_group(0, [speech, speech], talk=Talk.ONE, frames=FRAMES, size=(32, 80))
    assert clip.voices.any(1).tolist() == [False, True]
    return clip, encode_clip(clip, networks.autoencoder, networks.audio, seed=5)


def test_of_a_group_each_is_heard_alone_and_a_listener_as_encoded_silence(networks: Networks) -> None:
    clip, told = group(networks)
    assert told.audio.shape == (2, FRAMES, 2, 16)
    for voice, heard in zip(clip.voices, told.audio, strict=True):
        assert torch.equal(heard, networks.audio.encode(voice, seed=5).features[:FRAMES])
    assert told.audio[0].any(), "silence is no null audio"
    assert torch.equal(told.mouth[1, :, 0], clip.states[1].mouth_open)
    assert told.latents.shape == (4, 4, 4, 10)
    assert not told.silent


def test_the_disk_keeps_where_people_are(networks: Networks, tmp_path: Path) -> None:
    clip, told = group(networks)
    save_encoded(told, tmp_path / "two.safetensors")
    back = load_encoded(tmp_path / "two.safetensors")
    assert back.heads is not None
    assert torch.equal(back.heads.boxes, clip.heads)
    assert back.heads.size == (32, 80)
    assert back.audio.shape == told.audio.shape
    assert back.mouth.shape == told.mouth.shape


def test_files_that_know_of_one_person_only_are_still_read(networks: Networks, tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    save_encoded(encoded(networks, silent=False), path)
    told = load_encoded(path)
    tensors = load_file(path)
    tensors |= {"audio": tensors["audio"][0], "mouth": tensors["mouth"][0]}
    save_file(tensors, path, metadata={"caption": told.caption, "silent": "0"})
    back = load_encoded(path)
    assert torch.equal(back.audio, told.audio)
    assert torch.equal(back.mouth, told.mouth)


def test_a_pivot_and_what_comes_before_may_show_something_else(networks: Networks, tmp_path: Path) -> None:
    here, there, elsewhere = (make_clip(seed, None, frames=FRAMES, size=(16, 16)) for seed in (3, 4, 5))
    moved = replace(here, pictured=there.frames, before=elsewhere.frames)
    told, *others = (
        encode_clip(clip, networks.autoencoder, networks.audio) for clip in (moved, here, there, elsewhere)
    )
    assert torch.equal(told.latents, others[0].latents)
    assert torch.equal(told.references, others[1].references)
    assert told.before is not None
    assert torch.equal(told.before, others[2].latents)
    save_encoded(told, tmp_path / "moved.safetensors")
    back = load_encoded(tmp_path / "moved.safetensors").before
    assert back is not None
    torch.testing.assert_close(back, told.before, atol=2e-3, rtol=2e-3)
    assert others[0].before is None
