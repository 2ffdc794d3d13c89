"""Tests of what happens with memory that is freed, each in a process of its own."""

import platform
import subprocess
import sys

import pytest

from enliven.commands.generate import load
from enliven.pipeline import AvatarPipeline
from enliven.runtime import allocator
from enliven.runtime.choices import Choices
from enliven.types import ignore_progress
from several_processes import environment

ASKED = "from enliven.runtime.allocator import give_back_large; give_back_large()"
FREED = """
{begin}
taught = bytearray(24 * 2**20)  # from now on, glibc keeps what is smaller
del taught
freed, after = bytearray(16 * 2**20), bytearray(100_000)
freed[::4096] = b"x" * len(freed[::4096])

def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon"))

before = resident()
del freed
print(before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="asks the C library of GNU")
@pytest.mark.parametrize(("begin", "least", "most"), [(ASKED, 15_000, 17_000), ("", -100, 1_000)])
def test_what_is_large_goes_back_to_the_system(begin: str, least: int, most: int) -> None:
    code = FREED.format(begin=begin)
    untold = {name: value for name, value in environment().items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=untold)
    assert least <= int(ran.stdout) <= most


def test_the_command_line_asks_for_it_before_it_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(allocator, "give_back_large", lambda: done.append("asked"))
    monkeypatch.setattr(AvatarPipeline, "load", lambda *_, **__: done.append("loaded"))
    load(None, Choices(), ignore_progress)
    assert done == ["asked", "loaded"]
