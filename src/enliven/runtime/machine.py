"""What this machine has to run networks with."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

UNLIMITED = 2**60  # what a container without a limit may be told
LIMITS = ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True, slots=True)
class Machine:
    """Bytes of memory that networks may use: of the CPU, and of a GPU (0 without one)."""

    memory: int
    gpu: int = 0


def this_machine(device: str = "auto") -> Machine:
    """The memory of this machine, on the CPU as much of it as is free; the GPU counts whole, unless it is not meant."""
    import torch  # noqa: PLC0415 - the memory of the CPU is known without it

    on_gpu = device != "cpu" and torch.cuda.is_available()
    index = torch.device(device).index if device.startswith("cuda") else None
    return Machine(free_memory(), torch.cuda.get_device_properties(index or 0).total_memory if on_gpu else 0)


def quick_bfloat16(device: str = "cpu") -> bool:
    """Whether bfloat16 is computed quicker than float32 there: not by a CPU that does not know the format."""
    import torch  # noqa: PLC0415 - the memory of the CPU is known without it

    return torch.device(device).type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()


def holds_fp8(device: str) -> bool:
    """Whether a device has numbers of fp8 and can compute with them in another type: CPUs and CUDA, and few others."""
    import torch  # noqa: PLC0415 - as above

    try:
        return bool(torch.ones(1, device=device).to(torch.float8_e4m3fn).float().item() == 1)
    except (RuntimeError, TypeError):
        return False


def cores() -> int:
    """How many processor cores this process may use."""
    with suppress(AttributeError, OSError):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def total_memory(root: Path = Path("/")) -> int:
    """Bytes of memory of this machine, or of the container that it is. Raises OSError where nothing tells."""
    limit = memory_limit(root)
    with suppress(OSError, KeyError):
        return min(limit, _meminfo(root)["MemTotal"])
    try:
        return min(limit, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError) as error:
        raise OSError(f"this system does not tell how much memory it has: {error}") from error


def free_memory(root: Path = Path("/")) -> int:
    """Bytes that programs could still get; all of them where the system does not tell. Raises OSError."""
    total = total_memory(root)
    with suppress(OSError, KeyError):
        return min(total, _meminfo(root)["MemAvailable"])
    return total


def memory_limit(root: Path = Path("/")) -> int:
    """The most bytes a container may use."""
    for name in LIMITS:
        with suppress(OSError, ValueError):  # not Linux, or "max"
            return min(UNLIMITED, int((root / name).read_text(encoding="utf-8")))
    return UNLIMITED


def _meminfo(root: Path) -> dict[str, int]:
    lines = (root / "proc" / "meminfo").read_text(encoding="utf-8").splitlines()
    return {line.split(":")[0]: 1024 * int(line.split()[1]) for line in lines if line.endswith("kB")}
