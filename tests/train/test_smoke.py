"""The smoke test of training: what it looks for, and one kind of training from end to end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from enliven.train import checkpoint
from enliven.train.smoke import CASES, Saved, _children, find_saved, smoke


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


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_lora_is_killed_and_goes_on(tmp_path: Path) -> None:
    (line,) = smoke(tmp_path, [case for case in CASES if case.name == "lora"])
    assert "went on to step" in line
