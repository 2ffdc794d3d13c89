from pathlib import Path

import av
import numpy as np
import pytest
import torch

from enliven.errors import MediaError, StorageError
from enliven.media.audio import mono_16k
from enliven.media.mux import join_segments, write_video
from enliven.media.video import encode_segment, read_video
from enliven.types import Audio, Video
from media_files import drifting, sweep, write_sound, write_wav


def segments(folder: Path, counts: tuple[int, ...] = (41, 36, 23)) -> list[Path]:
    """Three clips of one moving picture, 100 frames or four seconds in all."""
    paths, start = [], 0
    for index, count in enumerate(counts):
        paths.append(folder / f"clip{index}.mp4")
        encode_segment([drifting(count, start=start)], 25.0, paths[-1])
        start += count
    return paths


def tracks(path: Path) -> dict[str, tuple[str, float]]:
    with av.open(str(path)) as container:
        return {
            s.type: (s.codec_context.codec.canonical_name, float(s.duration * s.time_base)) for s in container.streams
        }


def test_joined_segments_are_the_whole_video(tmp_path: Path) -> None:
    paths = segments(tmp_path)
    join_segments(paths, tmp_path / "out.mp4", fps=25.0)
    alone = torch.cat([read_video(path).frames for path in paths])
    seen = read_video(tmp_path / "out.mp4")
    assert torch.equal(seen.frames, alone)
    assert seen.fps == 25
    assert tracks(tmp_path / "out.mp4") == {"video": ("h264", 4.0)}


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    sound = write_wav(tmp_path / "a.wav", sweep(16000, 4.0), 16000)
    (tmp_path / "again").mkdir()
    for folder in (tmp_path, tmp_path / "again"):
        join_segments(segments(folder), folder / "out.mp4", fps=25.0, sound=sound)
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "again" / "out.mp4").read_bytes()


@pytest.mark.parametrize(
    ("name", "codec", "form", "rate", "channels"),
    [
        ("a.m4a", "aac", "mp4", 48000, 2),
        ("a.aac", "aac", "adts", 44100, 1),
        ("a.mp3", "mp3", "mp3", 44100, 2),
        ("a.mp3", "mp3", "mp3", 16000, 1),
        ("a.ac3", "ac3", "ac3", 48000, 6),
        ("a.ogg", "opus", "ogg", 48000, 1),
        ("a.flac", "flac", "flac", 48000, 2),
        ("a.m4a", "alac", "mp4", 44100, 2),
    ],
)
def test_sound_is_copied_untouched_and_in_time(
    tmp_path: Path, name: str, codec: str, form: str, rate: int, channels: int
) -> None:
    encoder = {"mp3": "libmp3lame", "opus": "libopus"}.get(codec, codec)
    sound = write_sound(tmp_path / name, encoder, form, sweep(rate, 4.0, channels), rate)
    join_segments(segments(tmp_path), tmp_path / "out.mp4", fps=25.0, sound=sound)
    assert tracks(tmp_path / "out.mp4")["audio"][0] == codec
    assert tracks(tmp_path / "out.mp4")["audio"][1] == pytest.approx(4, abs=0.04)
    before, after = mono_16k(sound), mono_16k(tmp_path / "out.mp4")
    count = min(len(before), len(after)) - 800  # the end may be padded
    assert (before[:count] - after[:count]).abs().max() < 0.02


@pytest.mark.parametrize(("seconds", "rate", "channels"), [(4.0, 16000, 1), (2.5, 44100, 2), (9.0, 8000, 6)])
def test_other_sound_becomes_aac_as_long_as_the_video(tmp_path: Path, seconds: float, rate: int, channels: int) -> None:
    sound = write_sound(tmp_path / "a.wav", "pcm_s16le", "wav", sweep(rate, seconds, channels), rate)
    join_segments(segments(tmp_path), tmp_path / "out.mp4", fps=25.0, sound=sound)
    assert tracks(tmp_path / "out.mp4") == {"video": ("h264", 4.0), "audio": ("aac", 4.0)}
    before, after = mono_16k(sound), mono_16k(tmp_path / "out.mp4")
    count = min(len(before), 64000)
    assert (before[:count] - after[:count]).square().mean() < 0.01 * before[:count].square().mean()
    assert after[count + 1600 : 64000].abs().sum() < 1


@pytest.mark.parametrize("seconds", [2.0, 6.0])
def test_a_copyable_sound_of_another_length_is_cut_or_padded(tmp_path: Path, seconds: float) -> None:
    sound = write_sound(tmp_path / "a.mp3", "libmp3lame", "mp3", sweep(44100, seconds), 44100)
    join_segments(segments(tmp_path), tmp_path / "out.mp4", fps=25.0, sound=sound)
    assert tracks(tmp_path / "out.mp4")["audio"][1] == pytest.approx(4, abs=0.04)


def test_the_video_can_end_inside_the_last_segment(tmp_path: Path) -> None:
    paths = segments(tmp_path)
    join_segments(paths, tmp_path / "out.mp4", fps=25.0, frames=80, sound=Audio(torch.zeros(1, 64000), 16000))
    assert tracks(tmp_path / "out.mp4") == {"video": ("h264", 3.2), "audio": ("aac", 3.2)}
    assert torch.equal(read_video(tmp_path / "out.mp4").frames[77:], read_video(paths[2]).frames[:3])


def test_playback_can_start_before_the_file_is_whole(tmp_path: Path) -> None:
    join_segments(segments(tmp_path), tmp_path / "out.mp4", fps=25.0)
    content = (tmp_path / "out.mp4").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_segments_of_different_sizes_are_refused(tmp_path: Path) -> None:
    encode_segment([drifting(5)], 25.0, tmp_path / "a.mp4")
    encode_segment([drifting(5, 32, 32)], 25.0, tmp_path / "b.mp4")
    with pytest.raises(MediaError, match=r"b\.mp4 was encoded with another size"):
        join_segments([tmp_path / "a.mp4", tmp_path / "b.mp4"], tmp_path / "out.mp4", fps=25.0)
    assert not (tmp_path / "out.mp4").exists()


def test_a_missing_segment_or_silent_file_is_named(tmp_path: Path) -> None:
    paths = segments(tmp_path, (5,))
    with pytest.raises(MediaError, match=r"gone\.mp4 does not exist"):
        join_segments([*paths, tmp_path / "gone.mp4"], tmp_path / "out.mp4", fps=25.0)
    with pytest.raises(MediaError, match=r"clip0\.mp4 has no sound"):
        join_segments(paths, tmp_path / "out.mp4", fps=25.0, sound=paths[0])
    with pytest.raises(StorageError, match="is a folder"):
        join_segments(paths, tmp_path, fps=25.0)
    assert [path.name for path in tmp_path.iterdir()] == ["clip0.mp4"]


def test_a_video_in_memory_is_written_with_its_sound(tmp_path: Path) -> None:
    sound = Audio(torch.from_numpy(np.clip(sweep(16000, 4.0), -1, 1)), 16000)
    write_video(Video(drifting(100), 25.0, sound), tmp_path / "a.mp4")
    assert tracks(tmp_path / "a.mp4") == {"video": ("h264", 4.0), "audio": ("aac", 4.0)}
