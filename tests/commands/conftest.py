"""The command line with the smallest model there is, in a folder of its own."""

from pathlib import Path

import pytest

from enliven import systems
from enliven.models.networks import save_networks
from tiny import tiny_networks, tiny_soul, tiny_soul_networks, tiny_spec, write_portrait, write_speech


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    save_networks(tiny_networks(), folder / "tiny")
    save_networks(tiny_soul_networks(), folder / "tiny-soul")
    return folder


@pytest.fixture
def here(tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a portrait, one second of speech and models called tiny and tiny-soul."""
    monkeypatch.setenv("ENLIVEN_WEIGHTS", str(tiny_weights))
    monkeypatch.setitem(systems.MODELS, "tiny", tiny_spec())
    monkeypatch.setitem(systems.MODELS, "tiny-soul", tiny_soul())
    monkeypatch.chdir(tmp_path)
    write_portrait(tmp_path / "me.png")
    write_speech(tmp_path / "speech.wav", 1.0)
    return tmp_path
