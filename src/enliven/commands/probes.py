"""What is here: libraries, processor, memory, GPUs, disks, codecs. Each answer is plain data, as JSON has it.

A probe that fails says why it does not know, and stops nothing: ``{"unknown": "the reason"}``.
"""

import os
import platform
import re
import shutil
from collections.abc import Callable
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

UNKNOWN = "unknown"
SHOWN = ("torch", "diffusers", "av", "transformers", "safetensors")  # the versions that matter most
CODECS = {"H.264": "libx264", "AAC": "aac"}  # as videos are written
REQUIREMENT = re.compile(r"^([\w.-]+)")
EXTRA = re.compile(r"extra\s*==\s*['\"]([\w-]+)['\"]")


def attempt(probe: Callable[[], Any]) -> Any:
    """What a probe finds, or why it finds nothing. However odd the machine, it must not stop the others."""
    try:
        return probe()
    except Exception as error:
        return {UNKNOWN: f"{type(error).__name__}: {error}" if str(error) else type(error).__name__}


def is_known(value: Any) -> bool:
    """Whether a probe found something."""
    return not (isinstance(value, dict) and UNKNOWN in value)


def software() -> dict[str, Any]:
    """Versions; None for what is not installed."""
    versions = {name: _version(name) for name in ("enliven", *SHOWN)}
    return {"python": platform.python_version(), **versions}


def machine() -> dict[str, Any]:
    """The processor and its memory in bytes, those of a container where it has its own limit."""
    from enliven.runtime import machine

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": attempt(machine.cores),
        "memory": attempt(machine.total_memory),
        "free_memory": attempt(machine.free_memory),
    }


def gpus() -> list[dict[str, Any]]:
    """CUDA devices as torch sees them."""
    import torch

    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return [
        {"name": gpu.name, "memory": gpu.total_memory, "compute_capability": f"{gpu.major}.{gpu.minor}"}
        for gpu in found
    ]


def disks() -> dict[str, Any]:
    """Where weights, caches and videos go, how many bytes are free there, and whether it can be written to."""
    from enliven.models.feature_cache import cache_folder
    from enliven.systems.spec import PACKAGED, PLACES

    named = [Path(place) for place in os.environ.get(PLACES, "").split(os.pathsep) if place]
    places = {"weights": named[0] if named else PACKAGED, "cache": cache_folder(), "output": Path.cwd()}
    return {name: attempt(partial(_disk, folder)) for name, folder in places.items()}


def video() -> dict[str, Any]:
    """Whether PyAV can write what videos are made of."""
    av = import_module("av")
    return {name: attempt(partial(_writes, av, codec)) for name, codec in CODECS.items()}


def attention() -> dict[str, Any]:
    """For each kernel whether it loads: true, or why not."""
    from enliven.runtime.attention import kernel_names, why_not

    return {name: attempt(partial(_loads, why_not, name)) for name in kernel_names()}


def requirements(distribution: str = "enliven") -> tuple[list[str], dict[str, list[str]]]:
    """What is required and missing, and what of each optional extra is missing."""
    extras: dict[str, list[str]] = {
        name: [] for name in metadata.metadata(distribution).get_all("Provides-Extra") or ()
    }
    missing: list[str] = []
    for line in metadata.requires(distribution) or ():
        name, extra = REQUIREMENT.match(line), EXTRA.search(line)
        if name is not None and _version(name[1]) is None:
            (extras.setdefault(extra[1], []) if extra else missing).append(name[1])
    return missing, extras


def _writes(av: Any, codec: str) -> bool:
    return bool(av.codec.Codec(codec, "w"))


def _loads(why_not: Callable[[str], str], kernel: str) -> bool | str:
    return why_not(kernel).removeprefix(f"attention {kernel} ") or True


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _disk(folder: Path) -> dict[str, Any]:
    """The free space of a folder, or of where it would be made."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return {
        "folder": str(folder),
        "free": shutil.disk_usage(there).free,
        "writable": os.access(there, os.W_OK),
    }
