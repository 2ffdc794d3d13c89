"""Tests of the cache of speech features."""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from enliven.errors import StorageError
from enliven.models.feature_cache import FeatureCache, cache_folder, feature_key
from enliven.models.whisper import WhisperEncoder, WhisperParams

SIZES = {
    "d_model": 16,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 16,
    "num_mel_bins": 40,
    "max_source_positions": 100,
}


class Listener(WhisperEncoder):
    """A Whisper that counts how often it listens."""

    listened = 0

    def listen(self, prepared: Float[Tensor, "n"]) -> Iterator[Float[Tensor, "a layers c"]]:
        self.listened += 1
        yield from super().listen(prepared)


@pytest.fixture
def encoder() -> Listener:
    torch.manual_seed(0)
    return Listener(WhisperParams(config=SIZES)).eval()


def speech(seconds: float, pitch: float = 700) -> torch.Tensor:
    time = torch.arange(round(seconds * 16_000)) / 16_000
    return 0.1 * torch.sin(pitch * time) * torch.sin(9 * time).abs()


def test_what_was_heard_is_not_encoded_again(encoder: Listener, tmp_path: Path) -> None:
    cache, expected = FeatureCache(tmp_path), encoder.encode(speech(5))
    encoder.listened = 0
    for _ in range(3):
        heard = cache.encode(encoder, speech(5))
        assert torch.equal(heard.features[:], expected.features)
        assert (heard.rate, heard.outside) == (50.0, "zero")
    assert encoder.listened == 1
    (path,) = tmp_path.iterdir()
    assert torch.equal(load_file(path)["features"], expected.features)


def test_other_sound_and_other_weights_have_other_names(encoder: Listener) -> None:
    sound = encoder.prepare(speech(1))
    keys = {feature_key(encoder, sound), feature_key(encoder, encoder.prepare(speech(1, pitch=701)))}
    with torch.no_grad():
        encoder.network.layers[1].fc1.bias.add_(1e-4)
    keys.add(feature_key(encoder, sound))
    keys.add(feature_key(Listener(WhisperParams(config=SIZES | {"encoder_attention_heads": 4})), sound))
    assert len(keys) == 4
    assert feature_key(encoder, sound) in keys


def test_what_was_used_last_stays(encoder: Listener, tmp_path: Path) -> None:
    one_file = 4 * 50 * 3 * 16
    cache = FeatureCache(tmp_path, most_bytes=round(2.5 * one_file))
    sounds = [speech(1, pitch) for pitch in (500, 600, 700)]
    names = [f"{feature_key(encoder, encoder.prepare(sound))}.safetensors" for sound in sounds]
    for age, sound, name in zip((300, 200), sounds[:2], names[:2], strict=True):
        cache.encode(encoder, sound)
        os.utime(tmp_path / name, (0, (tmp_path / name).stat().st_mtime - age))
    cache.encode(encoder, sounds[0])  # used again: the second is the oldest now
    (tmp_path / ".gone.safetensors.1.part").touch()
    os.utime(tmp_path / ".gone.safetensors.1.part", (0, 0))
    cache.encode(encoder, sounds[2])
    assert {path.name for path in tmp_path.iterdir()} == {names[0], names[2]}


def test_more_than_the_cache_may_hold_is_not_written(encoder: Listener, tmp_path: Path) -> None:
    heard = FeatureCache(tmp_path, most_bytes=1000).encode(encoder, speech(1))
    assert torch.equal(heard.features[:], encoder.encode(speech(1)).features)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_costs_only_the_saving(encoder: Listener, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/no")):
        heard = FeatureCache(folder).encode(encoder, speech(1))
        assert torch.equal(heard.features[:], encoder.encode(speech(1)).features)


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
def test_a_disk_that_fills_up_leaves_nothing_behind(encoder: Listener, tmp_path: Path) -> None:
    import resource  # noqa: PLC0415
    import signal  # noqa: PLC0415

    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        heard = FeatureCache(tmp_path).encode(encoder, speech(7))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.iterdir())
    assert torch.equal(heard.features[:], encoder.encode(speech(7)).features)


def test_a_broken_file_is_replaced(encoder: Listener, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    expected = cache.encode(encoder, speech(2)).features[:]
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for broken in (b"", whole[: len(whole) // 2]):
        path.unlink()
        path.write_bytes(broken)
        assert torch.equal(cache.encode(encoder, speech(2)).features[:], expected)
        assert path.read_bytes() == whole


def test_threads_that_want_the_same_encode_it_once(encoder: Listener, tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    with ThreadPoolExecutor(4) as threads:
        heard = [future.result() for future in [threads.submit(cache.encode, encoder, speech(4)) for _ in range(4)]]
    assert encoder.listened == 1
    assert all(torch.equal(one.features[:], heard[0].features[:]) for one in heard)


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux says about the memory of a process")
def test_what_was_asked_for_does_not_stay_in_memory(encoder: Listener, tmp_path: Path) -> None:
    def loaded() -> int:
        status = Path("/proc/self/status").read_text()
        return 1024 * sum(int(line.split()[1]) for line in status.splitlines() if line.startswith(("RssFile", "RssAn")))

    path = tmp_path / f"{feature_key(encoder, encoder.prepare(speech(1)))}.safetensors"
    size = 400_000 * 3 * 16 * 4
    header = f'{{"features":{{"dtype":"F32","shape":[400000,3,16],"data_offsets":[0,{size}]}}}}'.encode()
    with path.open("wb") as file:  # a long recording, without the time to encode one
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)
    before = loaded()
    heard = FeatureCache(tmp_path).encode(encoder, speech(1))
    for first in range(0, 200_000, 2_000):  # all of it, bit by bit
        assert heard.windows(range(first, first + 2_000), 10, 2).shape == (2_000, 10, 3, 16)
    assert loaded() - before < size / 4


def test_a_file_that_becomes_shorter_meanwhile_is_an_error(encoder: Listener, tmp_path: Path) -> None:
    heard = FeatureCache(tmp_path).encode(encoder, speech(2))
    (path,) = tmp_path.iterdir()
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(StorageError, match="it became shorter"):
        heard.windows(range(40, 50), 10, 2)


def test_what_is_in_use_outlives_the_cache(encoder: Listener, tmp_path: Path) -> None:
    heard = FeatureCache(tmp_path).encode(encoder, speech(2))
    (path,) = tmp_path.iterdir()
    path.unlink()
    assert torch.equal(heard.features[:], encoder.encode(speech(2)).features)


def test_the_folder_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ENLIVEN_CACHE", str(tmp_path / "chosen"))
    assert FeatureCache().folder.parent == tmp_path / "chosen"
    monkeypatch.delenv("ENLIVEN_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder().is_relative_to(tmp_path)
