"""Tests of checkpoints: whole or not at all, whenever the process dies."""

from pathlib import Path

import pytest
import torch

from enliven.errors import WeightsError
from enliven.train import checkpoint


def save(folder: Path, value: float) -> None:
    tensors = {"network": {"a.weight": torch.full((2, 3), value).T, "b": torch.tensor(value)}, "none": {}}
    checkpoint.save(folder, tensors=tensors, counters={"step": value, "seconds": 0.5})


def saved(folder: Path) -> float:
    tensors, counters = checkpoint.load(folder)
    assert tensors["network"]["a.weight"].shape == (3, 2)
    assert counters["step"] == tensors["network"]["b"] == tensors["network"]["a.weight"][0, 0]
    return counters["step"]


def test_the_last_save_is_loaded_and_nothing_else_stays(tmp_path: Path) -> None:
    for value in (1.0, 2.0, 3.0):
        save(tmp_path / "run", value)
        assert saved(tmp_path / "run") == value
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


class Killed(BaseException):
    """The process ends."""


@pytest.mark.parametrize("survived", range(8))
def test_a_kill_at_any_moment_leaves_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    """Two saves in a row die, the second one step sooner; then a third succeeds."""
    folder = tmp_path / "run"
    save(folder, 1.0)
    for value, steps in ((2.0, survived), (3.0, max(0, survived - 1))):
        before = saved(folder)
        with monkeypatch.context() as patch:
            left = [steps]

            def mortal(name: str, owner: object, patch: pytest.MonkeyPatch = patch, left: list[int] = left) -> None:
                do = getattr(owner, name)

                def or_die(*args: object, **options: object) -> object:
                    left[0] -= 1
                    if left[0] < 0:
                        raise Killed
                    return do(*args, **options)

                patch.setattr(owner, name, or_die)

            mortal("rename", Path)
            mortal("mkdir", Path)
            mortal("write_text", Path)
            mortal("rmtree", checkpoint.shutil)
            mortal("save_file", checkpoint)
            try:
                save(folder, value)
            except Killed:
                assert saved(folder) in (before, value)
            else:
                assert saved(folder) == value
    save(folder, 4.0)
    assert saved(folder) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_no_checkpoint_is_said_so(tmp_path: Path) -> None:
    assert checkpoint.find(tmp_path / "run") is None
    with pytest.raises(WeightsError, match=r"no checkpoint in .*run"):
        checkpoint.load(tmp_path / "run")
