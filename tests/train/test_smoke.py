"""The smoke test of training: what it looks for, and one kind of training from end to end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from enliven.errors import SmokeError
from enliven.train import checkpoint
from enliven.train import smoke as module
from enliven.train.smoke import CASES, Saved, _children, choose, find_saved, smoke

RECIPES = ("longcat", "soul-full")


def test_what_a_killed_run_has_saved_is_found(tmp_path: Path) -> None:
    assert find_saved(tmp_path) is None
    checkpoint.save(tmp_path / "checkpoint", tensors={}, counters={"step": 7, "seconds": 1.5})
    assert find_saved(tmp_path) == Saved(7, 1.5)
    (tmp_path / "checkpoint").rename(tmp_path / "checkpoint.old")
    assert find_saved(tmp_path) == Saved(7, 1.5)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs the process list of Linux")
def test_processes_of_processes_are_found() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    run = subprocess.Popen([sys.executable, "-c", code])
    try:
        until = time.monotonic() + 20
        while len(found := _children(run.pid)) < 1 and time.monotonic() < until:
            time.sleep(0.05)
        assert run.pid in _children(os.getpid())
        assert found[0] in _children(os.getpid())
    finally:
        for pid in [*_children(run.pid), run.pid]:
            os.kill(pid, signal.SIGKILL)
        run.wait()


def test_nothing_is_tried_twice_where_all_have_as_many_processes() -> None:
    assert [case.name for case in choose(CASES, None)] == [
        "toon",
        "soul",
        "lora",
        "decoder",
        "together",
        "distill",
        *RECIPES,
    ]
    assert [case.name for case in choose(CASES, 2)] == ["toon", "soul", "lora", "decoder", "distill", *RECIPES]
    assert {case.processes for case in choose(CASES, 2)} == {2}


def test_a_command_that_never_ends_is_killed_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENDING", 0.5)
    began = time.monotonic()
    with pytest.raises(SmokeError, match="did not end in"):
        module._run([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path)
    assert time.monotonic() - began < 30


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_lora_is_killed_and_goes_on(tmp_path: Path) -> None:
    (line,) = smoke(tmp_path, [case for case in CASES if case.name == "lora"])
    assert "went on to step" in line
