"""The command line with the smallest model there is, in a folder of its own."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from enliven import systems
from enliven.models.networks import save_networks
from enliven.pipeline import AvatarPipeline
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


@pytest.fixture
def stopped_early(monkeypatch: pytest.MonkeyPatch) -> Callable[[], AbstractContextManager[None]]:
    """A context within which Ctrl-C comes after the first clip."""
    made = AvatarPipeline.clips

    def one_clip(*given: object, **options: object):  # type: ignore[no-untyped-def]
        yield next(made(*given, **options))
        raise KeyboardInterrupt

    @contextmanager
    def stopping() -> Iterator[None]:
        with monkeypatch.context() as change:
            change.setattr(AvatarPipeline, "clips", one_clip)
            yield

    return stopping
