"""Runs a function in several processes that can meet: ``run_together`` starts this file, which forks."""

import importlib.util
import inspect
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from jaxtyping import install_import_hook

SECONDS = 200  # after which a process that waits for others is ended
HERE = Path(__file__).resolve().parent


def run_together(count: int, function: Callable[[Path], None], folder: Path) -> None:
    """Call ``function(folder)`` in ``count`` processes that can ``join``; all of them must end well."""
    command = [
        sys.executable,
        __file__,
        str(count),
        inspect.getfile(inspect.unwrap(function)),
        function.__name__,
        str(folder),
    ]
    subprocess.run(command, check=True, env=environment())


def environment() -> dict[str, str]:
    """One thread each, and the modules of the tests."""
    places = os.pathsep.join(map(str, (HERE.parent / "src", HERE)))
    return os.environ | {"PYTHONPATH": places, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def _main(count: str, file: str, name: str, folder: str) -> None:
    with install_import_hook("enliven.runtime", "beartype.beartype"):
        specification = importlib.util.spec_from_file_location("together", file)
        module = importlib.util.module_from_spec(specification)  # type: ignore[arg-type]
        specification.loader.exec_module(module)  # type: ignore[union-attr]
    torch.set_num_threads(1)
    os.environ |= {"WORLD_SIZE": count, "MASTER_PORT": str(free_port())}
    children = []
    for rank in range(int(count)):
        child = os.fork()
        if not child:
            signal.alarm(SECONDS)
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            getattr(module, name)(Path(folder))
            sys.stdout.flush()
            os._exit(0)
        children.append(child)
    for _ in children:
        _, end = os.wait()
        if end:  # the others would wait for it
            for child in children:
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            sys.exit(f"a process ended with {os.waitstatus_to_exitcode(end)}")


if __name__ == "__main__":
    _main(*sys.argv[1:])
