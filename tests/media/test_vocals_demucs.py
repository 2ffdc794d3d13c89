"""Networks of Demucs from safe files. Most of this needs the extra, and small random networks of the real kind."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from enliven.errors import MissingExtra, WeightsError
from enliven.media import vocals_demucs
from enliven.media.vocals_demucs import read_demucs
from enliven.types import Audio

KWARGS = {"sources": ["drums", "vocals"], "channels": 4, "nfft": 512, "depth": 2, "t_layers": 1, "t_heads": 2}
KWARGS |= {"samplerate": 8000, "segment": {"_type": "fraction", "numerator": 1, "denominator": 1}, "dconv_comp": 2}
KWARGS |= {"of_another_version": 1}


def write_weights(path: Path, seed: int = 0, **said: str) -> Path:
    networks = pytest.importorskip("demucs.htdemucs")
    torch.manual_seed(seed)
    given: dict[str, Any] = {name: value for name, value in KWARGS.items() if name != "of_another_version"}
    network = networks.HTDemucs(**(given | {"segment": 1}))
    metadata = {"klass": "demucs.htdemucs.HTDemucs", "args": "[]", "kwargs": json.dumps(KWARGS)} | said
    state = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    save_file(state, path, metadata=metadata)
    return path


@pytest.fixture
def sound() -> Audio:
    return Audio(0.1 * torch.randn(2, 24_000, generator=torch.Generator().manual_seed(0)), 16_000)


def test_the_voice_is_what_the_library_hears(tmp_path: Path, sound: Audio) -> None:
    separator = read_demucs(write_weights(tmp_path / "one.safetensors"))
    voice = separator(sound)
    assert (voice.rate, voice.samples.shape) == (8000, (2, 12_000))
    with pytest.warns(UserWarning, match="of_another_version"):
        library = pytest.importorskip("demucs.hf").load_safetensors_model(tmp_path / "one.safetensors")
    eight = Audio(sound.samples[:, :12_000], 8000)
    apply = pytest.importorskip("demucs.apply").apply_model
    mono = eight.samples.mean(0)
    expected = apply(library.eval(), ((eight.samples - mono.mean()) / (mono.std() + 1e-8))[None], shifts=0)[0, 1]
    expected = expected * (mono.std() + 1e-8) + mono.mean()
    torch.testing.assert_close(separator(eight).samples, expected, rtol=1e-3, atol=1e-5)


def test_several_networks_count_as_their_file_says(tmp_path: Path, sound: Audio) -> None:
    one, two = (write_weights(tmp_path / f"{name}.safetensors", seed) for seed, name in enumerate("ab"))
    (tmp_path / "bag.yaml").write_text("models: [a, b]\nweights: [[1.0, 1.0], [0.0, 3.0]]\n")
    expected = 0.25 * read_demucs(one)(sound).samples + 0.75 * read_demucs(two)(sound).samples
    torch.testing.assert_close(read_demucs(tmp_path)(sound).samples, expected)


def test_one_channel_is_heard_in_both(tmp_path: Path, sound: Audio) -> None:
    separator = read_demucs(write_weights(tmp_path / "one.safetensors"))
    mono = Audio(sound.samples[:1], sound.rate)
    torch.testing.assert_close(separator(mono).samples, separator(Audio(sound.samples[[0, 0]], sound.rate)).samples)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"klass": "os.system", "args": '["exit"]'}, "is for os.system"),
        ({"structure": "{}"}, "was expected"),
        ({"kwargs": '{"sources": ["drums"], "depth": 1}'}, "does not fit"),
        ({"kwargs": "{"}, "does not fit"),
    ],
)
def test_other_files_are_refused(said: dict[str, str], told: str, tmp_path: Path) -> None:
    path = write_weights(tmp_path / "one.safetensors", **said)
    with pytest.raises(WeightsError, match=told):
        read_demucs(path)


def test_damaged_and_ambiguous_folders_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("demucs.apply")
    with pytest.raises(WeightsError, match=r"0 \.yaml and 0 \.safetensors"):
        read_demucs(tmp_path)
    (tmp_path / "a.safetensors").write_bytes(b"torn")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_demucs(tmp_path)
    (tmp_path / "bag.yaml").write_text("models: 3\n")
    with pytest.raises(WeightsError, match="names no networks"):
        read_demucs(tmp_path)


def test_without_the_extra_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(vocals_demucs.importlib, "import_module", missing)
    with pytest.raises(MissingExtra, match="not installed") as caught:
        read_demucs(tmp_path)
    assert "enliven[vocals]" in caught.value.hint
