"""The people of a request: their voices on one time line, and where they are in the picture."""

from dataclasses import replace
from pathlib import Path

import pytest
import soxr
import torch
from PIL import Image

from enliven.data.groups import SIZES
from enliven.errors import RequestError
from enliven.media.audio import mono_16k
from enliven.media.image import read_portrait
from enliven.media.regions import Box, bounding_box
from enliven.media.voices import Turns
from enliven.people import people_regions, place_people, shows_drawing, soundtrack, speech_tracks
from enliven.request import GenerateRequest
from enliven.toonworld.character import sample_character
from enliven.toonworld.draw import draw_group, head_boxes
from enliven.toonworld.state import FaceState
from enliven.types import Audio
from mixes import RATE, band, decibels, write_stereo
from tiny import write_portrait, write_speech


@pytest.fixture
def request_(tmp_path: Path) -> GenerateRequest:
    audio = (write_speech(tmp_path / "a.wav", 0.5), write_speech(tmp_path / "b.wav", 0.2))
    return GenerateRequest(audio=audio, portrait=write_portrait(tmp_path / "us.png", (64, 96)))


def test_a_voice_is_silent_while_the_others_speak_or_when_it_is_over(request_: GenerateRequest) -> None:
    first, second = speech_tracks(request_)
    assert len(first) == len(second) == 8000
    assert second[3200:].count_nonzero() == 0
    first, second = speech_tracks(replace(request_, turns=Turns.IN_TURN))
    assert len(first) == len(second) == 11200
    assert first[8000:].count_nonzero() == second[:8000].count_nonzero() == 0
    assert torch.equal(second[8000:], mono_16k(request_.audio[1]))


def test_all_voices_sound_in_the_video_at_their_times(request_: GenerateRequest) -> None:
    mixed = soundtrack(replace(request_, turns=Turns.IN_TURN))
    assert isinstance(mixed, Audio)
    assert mixed.seconds == pytest.approx(0.7)
    expected = sum(speech_tracks(replace(request_, turns=Turns.IN_TURN)))
    middle = slice(1000, 7000)  # resampling rings where a voice breaks off
    torch.testing.assert_close(mono_16k(mixed)[middle], expected[middle], atol=0.01, rtol=0)


def test_one_recording_is_kept_as_its_file(request_: GenerateRequest) -> None:
    """Also beside somebody who says nothing: then sound is copied and never coded again."""
    voice = request_.audio[0]
    for audio in ((voice,), (None, voice), (voice, None)):
        request = replace(request_, audio=audio, turns=Turns.IN_TURN)
        assert soundtrack(request) == voice
        tracks = speech_tracks(request)
        assert [len(track) for track in tracks] == [8000] * len(audio)
        assert [bool(track.any()) for track in tracks] == [path is not None for path in audio]
    assert soundtrack(GenerateRequest(seconds=1.0)) is None


def test_drawn_people_are_found_and_get_the_voices_from_left_to_right(request_: GenerateRequest) -> None:
    people = [(sample_character(seed), FaceState.neutral(1)) for seed in (4_000_000, 4_000_001)]
    pixels = (draw_group(people, SIZES[2])[0] * 255).round().to(torch.uint8)
    picture = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    assert shows_drawing(picture)
    found = place_people(request_, picture)
    assert [speaker.name for speaker in found] == ["a.wav", "b.wav"]
    for speaker, head in zip(found, head_boxes(people, SIZES[2]), strict=True):
        assert speaker.box.overlap(Box(*head)) > 0.8 * (head[2] - head[0]) * (head[3] - head[1])


def test_where_no_face_is_found_everybody_gets_an_equal_share(
    request_: GenerateRequest, caplog: pytest.LogCaptureFixture
) -> None:
    picture = read_portrait(request_.portrait)
    assert not shows_drawing(picture)
    boxes = [speaker.box for speaker in place_people(request_, picture)]
    assert boxes == [Box(6, 4, 57, 43), Box(6, 52, 57, 91)]
    assert "0 faces were found" in caplog.text


def test_boxes_are_moved_as_the_picture_is_fitted(request_: GenerateRequest) -> None:
    """A picture of 64 x 96 in a frame of 32 x 32: half the size, and 8 pixels of both sides are cut off."""
    request = replace(request_, speakers=(Box(0, 0, 64, 48), Box(16, 48, 48, 80)))
    regions = people_regions(request, read_portrait(request.portrait), (32, 32))
    assert regions is not None
    assert bounding_box(regions[0, 0]) == Box(0, 0, 32, 16)
    assert bounding_box(regions[0, 1]) == Box(8, 16, 24, 32)
    assert not (regions[0, 0] & regions[0, 1]).any()
    assert regions[0].any(0).all()
    assert people_regions(replace(request, audio=request.audio[:1], speakers=()), None, (32, 32)) is None


def test_boxes_outside_the_picture_are_refused(request_: GenerateRequest) -> None:
    request = replace(request_, speakers=(Box(0, 0, 64, 48), Box(0, 48, 64, 97)))
    with pytest.raises(RequestError, match=r"speaker 2.*leaves the picture"):
        place_people(request, read_portrait(request.portrait))


def test_the_voice_alone_is_listened_to_and_the_whole_is_heard(tmp_path: Path) -> None:
    voice, mix = band(1.0)
    request = GenerateRequest(audio=(write_stereo(tmp_path / "song.wav", mix),), vocals="centre")
    assert soundtrack(request) == tmp_path / "song.wav"
    (alone,), (whole,) = speech_tracks(request), speech_tracks(replace(request, vocals=None))
    alike = torch.from_numpy(soxr.resample(voice.numpy(), RATE, 16_000))
    assert decibels(alike, alone) > decibels(alike, whole) + 8
