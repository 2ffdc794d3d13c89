"""How this process was started: alone, or by ``torchrun`` as one of several that make one video together.

    torchrun --nproc-per-node 4 -m enliven generate ... --parallel context=2,guidance=2

All of them do the same. The first alone writes and speaks; of several that fail, the one that fails first.
"""

import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from itertools import count
from typing import Any, TypeVar

from enliven.errors import EnlivenError

T = TypeVar("T")

PATIENCE = timedelta(hours=1)  # while others read, decode or write
PRECEDENCE = timedelta(seconds=1)  # of the first process where all fail alike
SPEAKING = timedelta(seconds=10)  # for the one that speaks: the launcher ends all when the first of them has ended
FAILED, TOLD = "failed", "told"
FINDINGS = count()  # of the first process, of which all have had equally many


def process_count() -> int:
    """How many processes were started together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def process_rank() -> int:
    """Which of them this is."""
    return int(os.environ.get("RANK", "0"))


def leads() -> bool:
    """Whether this process writes the files and says how far it has come."""
    return process_rank() == 0


@cache
def meeting_place() -> Any:
    """The ``Store`` through which the processes find each other."""
    from torch.distributed.rendezvous import rendezvous  # noqa: PLC0415 - whoever is alone need not wait for it

    return next(rendezvous("env://"))[0]


def from_first(find: Callable[[], T]) -> T:
    """What the first process finds, in all of them: what they do next may follow from it.

    All have to ask, and all fail where the first does. It goes on when all others know: they meet in it, and it may end
    at once.
    """
    if process_count() == 1:
        return find()
    store, name = meeting_place(), f"finding {next(FINDINGS)}"
    if leads():
        found = caught(find)
        store.set(name, pickle.dumps(found))
        store.wait([f"{name} known"], PATIENCE)
    else:
        store.wait([name], PATIENCE)
        found = pickle.loads(store.get(name))
        if store.add(f"{name} known by", 1) == process_count() - 1:
            store.set(f"{name} known", "")
    return unless_failed(found)


def caught(find: Callable[[], T]) -> T | EnlivenError:
    """What is found, or why not: to be told to other processes."""
    try:
        return find()
    except EnlivenError as error:
        return error


def unless_failed(found: T | EnlivenError) -> T:
    """What was found; raises why it was not."""
    if isinstance(found, EnlivenError):
        raise found
    return found


@contextmanager
def failing() -> Iterator[bool]:
    """Whether this process is to say why all of them end: the first that fails. The others wait until that is said."""
    if process_count() == 1:
        yield True
        return
    try:
        store = meeting_place()
        if not leads():
            with suppress(RuntimeError):
                store.wait([TOLD], PRECEDENCE)
        first = store.add(FAILED, 1) == 1
    except (RuntimeError, ValueError):  # they never met
        yield leads()
        return
    if not first:
        with suppress(RuntimeError):  # the first was ended before it could say anything
            store.wait([TOLD], SPEAKING)
    yield first
    with suppress(RuntimeError):  # the first process, in which all meet, has ended: there is nobody left to be told
        store.set(TOLD, "")
