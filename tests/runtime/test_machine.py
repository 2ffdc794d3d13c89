"""The memory of machines of several kinds, from what their files say."""

import os
from pathlib import Path

import pytest
import torch

from enliven.runtime import machine
from enliven.runtime.machine import cores, free_memory, holds_fp8, this_machine, total_memory

MEMINFO = "MemTotal:       16000000 kB\nMemFree:  100 kB\nMemAvailable:    9000000 kB\nHugePages_Total:       0\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text(MEMINFO)
    (tmp_path / "sys" / "fs" / "cgroup").mkdir(parents=True)
    return tmp_path


def test_a_plain_machine(root: Path) -> None:
    assert (total_memory(root), free_memory(root)) == (16_000_000 * 1024, 9_000_000 * 1024)
    (root / "sys" / "fs" / "cgroup" / "memory.max").write_text("max\n")
    assert total_memory(root) == 16_000_000 * 1024


def test_a_container_has_what_it_may_use(root: Path) -> None:
    (root / "sys" / "fs" / "cgroup" / "memory.max").write_text(f"{4 * 2**30}\n")
    assert (total_memory(root), free_memory(root)) == (4 * 2**30, 4 * 2**30)


def test_a_system_without_such_files_and_one_that_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert total_memory(tmp_path) == free_memory(tmp_path) == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    monkeypatch.delattr(machine.os, "sysconf")
    with pytest.raises(OSError, match="does not tell how much memory"):
        total_memory(tmp_path)


def test_this_machine() -> None:
    here = this_machine("cpu")
    assert here.gpu == 0
    assert 2**28 < here.memory <= total_memory()
    assert (this_machine().gpu > 0) == torch.cuda.is_available()
    assert 1 <= cores() <= (os.cpu_count() or 1)


def test_a_processor_has_fp8_and_a_device_that_is_not_there_has_none() -> None:
    assert holds_fp8("cpu")
    assert not holds_fp8("mps" if not torch.backends.mps.is_available() else "xpu")
