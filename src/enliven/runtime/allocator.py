"""How the C library keeps the memory that tensors on the CPU give back."""

import ctypes
import os
import sys
from contextlib import suppress

LARGE = 4 * 2**20
MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD in malloc.h


def give_back_large() -> None:
    """Memory of 4 MiB and more goes back to the system when it is freed, for the rest of the process.

    By itself glibc learns from what is freed to keep ever larger blocks in its heap. That frays, and a long video takes
    some more memory than a short one. What the environment says of the threshold wins; other C libraries stay as they
    are.
    """
    asked = "MALLOC_MMAP_THRESHOLD_" in os.environ or "malloc.mmap_threshold" in os.environ.get("GLIBC_TUNABLES", "")
    if sys.platform == "linux" and not asked:
        with suppress(AttributeError):
            ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, LARGE)
