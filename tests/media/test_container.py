import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from enliven.errors import MediaError
from enliven.media.container import check_file, open_media
from media_files import drifting, sweep, write_frames, write_sound, write_wav


def opened(path: Path) -> str:
    with open_media(path) as container:
        return str(container.format.name)


def test_ordinary_files_open(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", sweep(8000), 8000)
    write_sound(tmp_path / "a.m4a", "aac", "mp4", sweep(48000), 48000)
    write_frames(tmp_path / "a.mp4", drifting(3), [0, 40, 80])
    for name in ("a.wav", "a.m4a", "a.mp4"):
        assert opened(tmp_path / name)


def test_what_is_not_there_or_not_a_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    os.mkfifo(tmp_path / "pipe.wav")
    cases = {
        tmp_path / "absent.wav": "absent.wav does not exist",
        tmp_path: "is a folder",
        tmp_path / "empty.wav": "is empty",
        tmp_path / "pipe.wav": "not an ordinary file",
        tmp_path / ("x" * 300): "cannot be read",
        tmp_path / "null\0byte": "cannot be read",
    }
    for path, words in cases.items():
        with pytest.raises(MediaError, match=words):
            opened(path)


def test_a_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(bytes(3 * 2**20))
    with pytest.raises(MediaError, match="is 3 MiB; at most 2 MiB"):
        check_file(path, most_bytes=2 * 2**20)


NOISE = np.random.default_rng(0).bytes(5000)


@pytest.mark.parametrize("content", [NOISE, b"Dear Sir,\n" * 400, b"\x89PNG\r\n\x1a\n" + bytes(900), b"RIFF"])
def test_what_is_not_media_is_refused_with_a_hint(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "speech.mp3"
    path.write_bytes(content)
    with pytest.raises(MediaError, match=r"speech\.mp3 is not a sound or video file") as caught:
        opened(path)
    assert "give MP4, MOV" in caught.value.hint


def test_a_playlist_cannot_read_other_files(tmp_path: Path) -> None:
    secret = write_sound(tmp_path / "secret.ts", "aac", "mpegts", sweep(48000), 48000)
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:3,\n{secret}\n#EXT-X-ENDLIST\n"
    listing = f"ffconcat version 1.0\nfile '{secret}'\n"
    for name, content in [("a.m3u8", playlist), ("a.mp4", playlist), ("a.txt", listing), ("a.wav", listing)]:
        (tmp_path / name).write_text(content)
        with pytest.raises(MediaError, match="not a sound or video file"):
            opened(tmp_path / name)


def test_a_name_that_looks_like_an_address_stays_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_wav(tmp_path / "a.wav", sweep(8000), 8000)
    shutil.copy(tmp_path / "a.wav", tmp_path / "concat:a.wav|b.wav")
    assert opened(Path("concat:a.wav|b.wav")) == "wav"
    with pytest.raises(MediaError, match="does not exist"):
        opened(Path("http://localhost/a.wav"))


def test_errors_of_the_caller_pass_through_untouched(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", sweep(8000), 8000)
    with pytest.raises(KeyError), open_media(tmp_path / "a.wav"):
        raise KeyError("mine")
