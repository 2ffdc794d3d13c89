"""Tests of what happens with memory that is freed, each in a process of its own."""

import platform
import subprocess
import sys

import pytest

FREED = """
from enliven.runtime.allocator import give_back_large
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
@pytest.mark.parametrize(("begin", "least", "most"), [("give_back_large()", 15_000, 17_000), ("", -100, 1_000)])
def test_what_is_large_goes_back_to_the_system(begin: str, least: int, most: int) -> None:
    code = FREED.format(begin=begin)
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={})
    assert least <= int(ran.stdout) <= most
