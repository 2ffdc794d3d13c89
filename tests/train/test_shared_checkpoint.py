"""Checkpoints written beside the training: whole or not at all."""

import contextlib
import errno
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException  # noqa: TID251
from torch.distributed.checkpoint.filesystem import FileSystem  # noqa: TID251

from enliven.errors import StorageError, WeightsError
from enliven.train import checkpoint, shared_checkpoint
from enliven.train.shared_checkpoint import Saver, load


def tensors(value: float) -> dict[str, Tensor]:
    return {"a": torch.full((3, 2), value).T, "b": torch.tensor(value), "whole": torch.tensor([2**60])}


def loaded(folder: Path) -> float:
    room = tensors(-1.0)
    counters = load(folder, lambda shapes: room)
    assert (room["a"] == room["b"]).all()
    assert room["whole"] == 2**60
    assert counters["step"] == float(room["b"])
    return counters["step"]


def save(saver: Saver, value: float) -> None:
    saver.begin(tensors(value), {"step": value})
    saver.wait()


def test_the_last_save_is_loaded_and_nothing_else_stays(tmp_path: Path) -> None:
    saver = Saver(tmp_path / "run")
    for value in (1.0, 2.0, 3.0):
        save(saver, value)
        assert loaded(tmp_path / "run") == value
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_what_is_saved_is_the_state_of_then(tmp_path: Path) -> None:
    saver, state = Saver(tmp_path / "run"), tensors(1.0)
    saver.begin(state, {"step": 1})
    for value in state.values():
        value.zero_()
    saver.wait()
    assert loaded(tmp_path / "run") == 1


def test_a_full_disk_is_said_and_the_last_checkpoint_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saver = Saver(tmp_path / "run")
    save(saver, 1.0)

    def full(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(FileSystem, "create_stream", full)
        with pytest.raises(StorageError, match="no space left") as caught:
            save(saver, 2.0)
    assert "space" in caught.value.hint
    assert loaded(tmp_path / "run") == 1
    save(saver, 3.0)
    assert loaded(tmp_path / "run") == 3


class Killed(BaseException):
    """The process ends."""


@pytest.mark.parametrize("survived", range(6))
def test_a_kill_at_any_moment_leaves_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    saver, left = Saver(tmp_path / "run"), [survived]
    save(saver, 1.0)

    def mortal(owner: object, name: str) -> None:
        do = getattr(owner, name)

        def or_die(*args: object, **options: object) -> object:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return do(*args, **options)

        patch.setattr(owner, name, or_die)

    with monkeypatch.context() as patch:
        for name in ("rename", "mkdir", "write_text"):
            mortal(Path, name)
        mortal(checkpoint.shutil, "rmtree")
        with contextlib.suppress(Killed, CheckpointException):  # either way, nothing after it was done
            save(saver, 2.0)
    assert loaded(tmp_path / "run") in (1, 2)
    save(Saver(tmp_path / "run"), 3.0)
    assert loaded(tmp_path / "run") == 3
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_other_networks_and_damage_are_said(tmp_path: Path) -> None:
    save(Saver(tmp_path / "run"), 1.0)
    with pytest.raises(WeightsError, match=r"2 tensors differ \(a, c\)"):
        load(
            tmp_path / "run",
            lambda shapes: (
                {"a": torch.zeros(2, 4), "c": torch.zeros(1)}
                | {name: value for name, value in tensors(0).items() if name != "a"}
            ),
        )
    (file,) = (tmp_path / "run").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(WeightsError, match="damaged"):
        load(tmp_path / "run", lambda shapes: tensors(0))
    with pytest.raises(WeightsError, match="no checkpoint"):
        load(tmp_path / "nothing", lambda shapes: {})


def test_a_refusal_is_found_however_deep_it_is_wrapped() -> None:
    inner = OSError(errno.EROFS, "read-only")
    error = RuntimeError("outer")
    error.__cause__ = ValueError("middle")
    error.__cause__.__context__ = inner
    assert shared_checkpoint._refusal(error) is inner
    assert shared_checkpoint._refusal(ValueError("none")) is None
