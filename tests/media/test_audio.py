import logging
import tracemalloc
from itertools import islice
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from enliven.errors import MediaError
from enliven.media.audio import audio_blocks, mono_16k, read_audio, speech_blocks
from enliven.types import Audio
from media_files import drifting, sweep, write_frames, write_sound, write_wav


@pytest.mark.parametrize(
    ("name", "codec", "form", "rate", "channels", "error"),
    [
        ("a.wav", "pcm_s16le", "wav", 16000, 1, 1e-4),
        ("a.wav", "pcm_s24le", "wav", 44100, 2, 1e-6),
        ("a.wav", "pcm_u8", "wav", 16000, 1, 1e-2),
        ("a.wav", "pcm_f64le", "wav", 16000, 2, 1e-6),
        ("a.aiff", "pcm_s16be", "aiff", 22050, 2, 1e-4),
        ("a.flac", "flac", "flac", 48000, 2, 1e-4),
        ("a.m4a", "alac", "mp4", 44100, 1, 1e-4),
    ],
)
def test_exact_codings_come_back_as_they_went_in(
    tmp_path: Path, name: str, codec: str, form: str, rate: int, channels: int, error: float
) -> None:
    samples = sweep(rate, 0.7, channels) * np.linspace(1, 0.5, channels, dtype=np.float32)[:, None]
    audio = read_audio(write_sound(tmp_path / name, codec, form, samples, rate))
    assert audio.rate == rate
    assert audio.samples.shape == samples.shape
    assert (audio.samples - torch.from_numpy(samples)).abs().max() < error


@pytest.mark.parametrize(
    ("name", "codec", "form", "rate"),
    [
        ("a.mp3", "libmp3lame", "mp3", 44100),
        ("a.m4a", "aac", "mp4", 48000),
        ("a.ogg", "libopus", "ogg", 48000),
        ("a.webm", "libopus", "webm", 48000),
        ("a.mka", "aac", "matroska", 44100),
    ],
)
def test_encoder_delay_does_not_shift_the_voice(tmp_path: Path, name: str, codec: str, form: str, rate: int) -> None:
    heard = mono_16k(write_sound(tmp_path / name, codec, form, sweep(rate), rate))
    spoken = mono_16k(Audio(torch.from_numpy(sweep(rate)), rate))
    count = min(len(heard), len(spoken))
    assert abs(len(heard) - len(spoken)) < 16000 * 0.025
    products = torch.fft.rfft(heard[:count], 2 * count) * torch.fft.rfft(spoken[:count], 2 * count).conj()
    lag = int(torch.fft.irfft(products).argmax())
    assert min(lag, 2 * count - lag) <= 16  # one millisecond


def test_mono_is_the_average_of_the_channels(tmp_path: Path) -> None:
    level = np.full((2, 44100), 0.9, np.float32)
    mono = mono_16k(write_sound(tmp_path / "a.wav", "pcm_f32le", "wav", level, 44100))
    assert len(mono) == 16000
    assert (mono[1000:-1000] - 0.9).abs().max() < 1e-3
    opposite = level * np.array([[1], [-1]], np.float32)
    assert mono_16k(Audio(torch.from_numpy(opposite), 44100)).abs().max() < 1e-6


def test_blocks_join_to_the_whole(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.flac", "flac", "flac", sweep(44100, 4.3, 2), 44100)
    whole = Audio(torch.cat([block.samples for block in audio_blocks(path)], 1), 44100)
    assert torch.equal(whole.samples, read_audio(path).samples)
    assert (torch.cat(list(speech_blocks(path))) - mono_16k(whole)).abs().max() < 1e-4


def test_memory_stays_flat_in_the_length(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", np.zeros((1, 16000 * 240), np.float32), 16000)
    tracemalloc.start()
    samples = sum(len(block) for block in speech_blocks(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert samples == 16000 * 240
    assert peak < 2**20  # the file is 15 MiB


@pytest.mark.parametrize(("value", "shown"), [(np.nan, "nan"), (np.inf, "inf"), (-32768.0, "-32768")])
def test_samples_that_are_not_sound_are_refused_with_their_time(tmp_path: Path, value: float, shown: str) -> None:
    samples = sweep(8000, 3.0, 2)
    samples[1, 20_100] = value
    with pytest.raises(MediaError, match=rf"a\.wav holds the sample {shown} at 0:02\.51[23]"):
        read_audio(write_wav(tmp_path / "a.wav", samples, 8000))


def test_a_video_without_sound_says_so(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "a.mp4", drifting(3), [0, 40, 80])
    with pytest.raises(MediaError, match=r"no sound \(it has a picture"):
        mono_16k(path)


def test_too_little_sound_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no sound that can be decoded"):
        mono_16k(write_wav(tmp_path / "none.wav", np.zeros((1, 0), np.float32), 16000))
    with pytest.raises(MediaError, match=r"lasts 0\.050 s; at least 0\.1 s"):
        mono_16k(write_wav(tmp_path / "short.wav", np.zeros((1, 800), np.float32), 16000))


def test_an_absurd_rate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="states 10 samples a second"):
        read_audio(write_wav(tmp_path / "a.wav", np.zeros((1, 800), np.float32), 10))


@pytest.mark.parametrize(("name", "codec", "form"), [("a.wav", "pcm_s16le", "wav"), ("a.mp3", "libmp3lame", "mp3")])
def test_a_truncated_file_is_read_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, codec: str, form: str
) -> None:
    path = write_sound(tmp_path / name, codec, form, sweep(44100), 44100)
    content = path.read_bytes()
    with caplog.at_level(logging.WARNING):
        assert read_audio(path).seconds == pytest.approx(3, abs=0.1)
        assert not caplog.records
        path.write_bytes(content[: len(content) // 3])
        assert read_audio(path).seconds == pytest.approx(1, abs=0.2)
    assert "0:03.0" in caplog.text
    assert "could be read" in caplog.text


def test_a_truncated_mp4_is_refused(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.m4a", "aac", "mp4", sweep(44100), 44100)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(MediaError, match="not a sound or video file"):
        read_audio(path)


def test_damage_in_the_middle_costs_only_what_is_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_sound(tmp_path / "a.flac", "flac", "flac", sweep(44100), 44100)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    path.write_bytes(content)
    assert read_audio(path).seconds > 2.5


def test_holes_in_the_time_stamps_become_silence(tmp_path: Path) -> None:
    path, samples = tmp_path / "a.mka", sweep(48000, 2.0)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_f32le", rate=48000)
        stream.layout = "mono"
        for start, shift in [(0, 0), (48000, 24000)]:
            frame = av.AudioFrame.from_ndarray(samples[:, start : start + 48000], format="flt", layout="mono")
            frame.rate, frame.pts = 48000, start + shift
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    heard = read_audio(path).samples
    assert heard.shape[1] == 48000 * 2.5
    assert heard[0, 48100:71900].abs().max() == 0
    assert np.allclose(heard[0, -47900:], samples[0, -47900:])


def test_a_block_is_about_a_second(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", sweep(16000, 5.0), 16000)
    assert all(0.9 < block.seconds < 1.5 for block in islice(audio_blocks(path), 4))
