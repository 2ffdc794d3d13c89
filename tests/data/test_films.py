"""Clips out of video files: of the right frames, with the right sound, none of them twice."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from enliven.data.encoded import EncodedClip
from enliven.data.films import Film, FilmEncoder, Soundtrack, cut_film, find_films
from enliven.data.sights import make_sight
from enliven.errors import ConfigError, MediaError
from enliven.media.mux import write_video
from enliven.media.video import encode_segment, read_video
from enliven.models.networks import Networks, at_rate
from enliven.types import Audio, Video
from tiny import tiny_networks, tiny_soul_networks

SPEAKER = '{"cond_audio": {"person1": "one.wav"}}'

FPS = 25


@pytest.fixture(scope="module")
def networks() -> Networks:
    return tiny_networks()


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 frames that grow lighter, with a second of noise that then falls silent."""
    path = tmp_path_factory.mktemp("films") / "a.mp4"
    frames = (8 * torch.arange(30, dtype=torch.uint8))[:, None, None, None].expand(-1, 3, 32, 48)
    noise = 0.2 * torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    write_video(Video(frames.contiguous(), FPS, Audio(noise, 16_000)), path)
    path.with_suffix(".txt").write_text("It grows\nlighter.\n")
    return path


def encoder(networks: Networks, *lengths: int, **changes: object) -> FilmEncoder:
    made = FilmEncoder(networks.autoencoder, networks.audio, FPS, lengths or (13,), lambda *_: (16, 24))
    return replace(made, **changes)


def levels(frames: torch.Tensor) -> list[int]:
    return [round(float(frame.float().mean()) / 8) for frame in frames]


def test_a_film_is_cut_from_its_beginning_to_its_end(film: Path) -> None:
    clips = list(cut_film(film, FPS, [13, 1], lambda *_: (16, 24)))
    assert [start for start, _ in clips] == [0, 13, 26, 27, 28, 29]
    assert [level for _, frames in clips for level in levels(frames)] == list(range(30))
    assert {frames.shape[1:] for _, frames in clips} == {(3, 16, 24)}


def test_what_is_left_at_the_end_is_left_out_or_cut_shorter(film: Path) -> None:
    def lengths(*wanted: int) -> list[tuple[int, int]]:
        return [(start, len(frames)) for start, frames in cut_film(film, FPS, wanted, lambda *_: (16, 24))]

    assert lengths(13) == [(0, 13), (13, 13)]
    assert lengths(9, 17) == [(0, 17), (17, 9)]


def test_a_film_too_short_for_any_clip_says_so(film: Path) -> None:
    with pytest.raises(MediaError, match=r"a\.mp4 has 30 frames, a clip needs 33") as refused:
        list(cut_film(film, FPS, [37, 33], lambda *_: (16, 24)))
    assert "--frames" in refused.value.hint
    assert list(cut_film(film, FPS, [29], lambda *_: (16, 24), frozenset({0}))) == []


def test_what_was_made_is_passed_over(film: Path) -> None:
    every = dict(cut_film(film, FPS, [5], lambda *_: (16, 24)))
    some = dict(cut_film(film, FPS, [5], lambda *_: (16, 24), frozenset({0, 10, 25})))
    assert list(every) == [0, 5, 10, 15, 20, 25]
    assert list(some) == [5, 15, 20]
    assert all(torch.equal(some[start], every[start]) for start in some)


def test_the_size_is_chosen_by_that_of_the_film(film: Path) -> None:
    asked = []
    list(cut_film(film, FPS, [13], lambda height, width: asked.append((height, width)) or (height, width)))
    assert asked == [(32, 48)]


def test_an_encoded_clip_is_of_the_frames_it_starts_from(film: Path, networks: Networks) -> None:
    (first, clip), (second, later) = encoder(networks).clips(Film(film, "it grows"))
    assert (first, second) == (0, 13)
    assert clip.latents.shape == (4, 4, 2, 3)
    assert clip.reference_frames.tolist() == [0, 4, 8, 12]
    assert (clip.caption, clip.silent, later.silent) == ("it grows", False, False)
    seen = dict(cut_film(film, FPS, [13], lambda *_: (16, 24)))[13].float() / 127.5 - 1
    expected = networks.autoencoder.encode(seen.transpose(0, 1)[None])[0]
    torch.testing.assert_close(later.latents, expected)
    picture = networks.autoencoder.encode(seen[8][None, :, None])[0, :, 0]
    torch.testing.assert_close(later.references[2], picture)


def test_a_clip_hears_its_own_time(tmp_path: Path, film: Path, networks: Networks) -> None:
    """Two films whose sounds differ in frames 16 and 22 alone: so do what their clips hear."""

    def heard(frame: int) -> torch.Tensor:
        samples = 0.05 * torch.randn(1, 19_200, generator=torch.Generator().manual_seed(1))
        samples[0, 640 * frame : 640 * (frame + 1)] *= 12
        path = tmp_path / f"{frame}" / "b.mp4"
        path.parent.mkdir()
        write_video(Video(read_video(film).frames, FPS, Audio(samples, 16_000)), path)
        clips = [clip for _, clip in encoder(networks).clips(Film(path))]
        assert [clip.audio.shape for clip in clips] == [(1, 13, 2, 16)] * 2
        return torch.cat([clip.audio[0] for clip in clips])

    apart = (heard(16) - heard(22)).abs().mean((1, 2))
    first, second = sorted(apart.topk(2).indices.tolist())
    assert abs(first - 16) <= 1
    assert abs(second - 22) <= 1


def test_a_clip_of_another_rate_hears_its_own_time(tmp_path: Path, film: Path, networks: Networks) -> None:
    """At 16 frames a second and 32 features: two per frame, and the moment that differs is where it sounds."""

    def heard(loudness: float) -> torch.Tensor:
        samples = 0.05 * torch.randn(1, 19_200, generator=torch.Generator().manual_seed(1))
        samples[0, 14_000:15_000] *= loudness
        path = tmp_path / f"{loudness}" / "b.mp4"
        path.parent.mkdir()
        write_video(Video(read_video(film).frames, FPS, Audio(samples, 16_000)), path)
        slow = encoder(networks, 9, fps=16, hearing=at_rate(networks.audio, 32.0))
        clips = [clip for _, clip in slow.clips(Film(path))]
        assert [clip.audio.shape for clip in clips] == [(1, 18, 2, 16)] * 2
        return torch.cat([clip.audio[0] for clip in clips])

    loudest = (heard(1) - heard(12)).abs().mean((1, 2)).argmax()
    assert abs(int(loudest) - 32 * 14_500 / 16_000) <= 1


@pytest.mark.parametrize("make", [tiny_networks, tiny_soul_networks])
@pytest.mark.parametrize(
    ("heard", "soundless", "silent"),
    [("own", "silence", True), ("own", "null", False), ("silence", "null", True), ("null", "silence", False)],
)
def test_a_film_without_sound_is_silent_or_general_video(
    make: Callable[[], Networks], heard: str, soundless: str, silent: bool, tmp_path: Path, film: Path
) -> None:
    encode_segment([read_video(film).frames], FPS, tmp_path / "mute.mp4")
    told = encoder(make(), sound=Soundtrack(heard, soundless))
    clips = [clip for _, clip in told.clips(Film(tmp_path / "mute.mp4"))]
    assert [clip.silent for clip in clips] == [silent, silent]
    assert [bool(clip.audio.any()) for clip in clips] == [silent, silent]


def test_silence_and_null_audio_may_stand_for_the_sound_of_a_film(
    tmp_path: Path, film: Path, networks: Networks
) -> None:
    def clips(path: Path, **sound: str) -> list[EncodedClip]:
        return [clip for _, clip in encoder(networks, sound=Soundtrack(**sound)).clips(Film(path))]

    assert not any(clip.audio.any() or clip.silent for clip in clips(film, heard="null"))
    quiet = tmp_path / film.name  # of the same name, and so of the same noise floor
    write_video(Video(read_video(film).frames, FPS, Audio(torch.zeros(1, 19_200), 16_000)), quiet)
    for asked, silent, own in zip(clips(film, heard="silence"), clips(quiet), clips(film), strict=True):
        assert asked.silent
        torch.testing.assert_close(asked.audio, silent.audio)
        assert not torch.allclose(asked.audio, own.audio, atol=0.1)


@pytest.mark.parametrize(("soundless", "length"), [("silence", 8_320), ("null", 0)])
def test_drawn_clips_without_sound_are_told_the_same(soundless: str, length: int) -> None:
    sight = make_sight(1, frames=13, size=(32, 32))
    told = Soundtrack(soundless=soundless).of_drawn(sight)
    assert (len(told.samples), told.silent) == (length, length > 0)
    speaks = replace(sight, samples=torch.ones(8_320))
    assert Soundtrack(soundless=soundless).of_drawn(speaks) is speaks
    assert len(Soundtrack("null").of_drawn(speaks).samples) == 0


def test_silence_is_encoded_and_told(tmp_path: Path, film: Path, networks: Networks) -> None:
    write_video(Video(read_video(film).frames, FPS, Audio(torch.zeros(1, 9600), 16_000)), tmp_path / "quiet.mp4")
    clips = [clip for _, clip in encoder(networks).clips(Film(tmp_path / "quiet.mp4"))]
    assert all(clip.audio.any() and clip.silent for clip in clips)


def test_what_is_no_film_is_refused(tmp_path: Path, networks: Networks) -> None:
    (tmp_path / "a.mp4").write_bytes(b"not a film")
    with pytest.raises(MediaError, match=r"a\.mp4"):
        list(encoder(networks).clips(Film(tmp_path / "a.mp4")))


def test_lengths_and_rates_that_cannot_be_are_refused(networks: Networks) -> None:
    with pytest.raises(ValueError, match="12 frames"):
        encoder(networks, 13, 12)
    with pytest.raises(ConfigError, match="25 audio features a second"):
        encoder(networks, fps=16)


def test_films_and_captions_are_found(film: Path, tmp_path: Path) -> None:
    (film.parent / "deeper").mkdir()
    (film.parent / "deeper" / "b.MOV").write_bytes(b"")
    assert find_films(film.parent) == [Film(film, "It grows lighter."), Film(film.parent / "deeper" / "b.MOV")]
    assert find_films(film) == [Film(film, "It grows lighter.")]
    (tmp_path / "list.csv").write_text('path,caption,other\nx/a.mp4,"a man, ä",1\nb.mp4,,2\n')
    (tmp_path / "list.jsonl").write_text(
        json.dumps({"path": "x/a.mp4", "caption": "a man, ä"}) + '\n{"path": "b.mp4"}\n'
    )
    expected = [Film(tmp_path / "x" / "a.mp4", "a man, ä"), Film(tmp_path / "b.mp4")]
    assert find_films(tmp_path / "list.csv") == find_films(tmp_path / "list.jsonl") == expected


def test_another_caption_or_other_speakers_are_a_change(film: Path, tmp_path: Path) -> None:
    film = Path(shutil.copy(film, tmp_path / "a.mp4"))
    before = Film(film, "a man").digest()
    assert before == Film(film, "a man").digest()
    assert before != Film(film, "a woman").digest()
    speakers = film.with_suffix(".speakers.json")
    (tmp_path / "one.wav").write_bytes(b"1")
    speakers.write_text(SPEAKER)
    told = Film(film, "a man").digest()
    (tmp_path / "one.wav").write_bytes(b"22")
    heard = Film(film, "a man").digest()
    speakers.write_text(SPEAKER + " ")
    assert len({before, told, heard, Film(film, "a man").digest()}) == 4
    with film.open("ab") as file:
        file.write(b"more")
    speakers.unlink()
    assert before != Film(film, "a man").digest()


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.txt", "x"), ("a.csv", "film\nx.mp4\n"), ("a.jsonl", "{\n"), ("a.jsonl", "[1]\n"), ("missing.csv", None)],
)
def test_other_lists_are_refused(name: str, text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match="list of videos"):
        find_films(tmp_path / name)
