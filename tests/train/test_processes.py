"""One process alone, and what fails for all; that several agree is proven by the clusters they make together."""

from pathlib import Path

import pytest
import torch

from enliven.errors import ConfigError
from enliven.train.processes import (
    agreed,
    broadcast,
    collected,
    first_alone,
    joined,
    mean,
    meet,
    own_share,
    rank_and_count,
    summed,
)
from several_processes import run_together


def test_one_process_has_everything_already() -> None:
    own = torch.ones(3)
    assert rank_and_count() == (0, 1)
    assert own_share("abc") == "abc"
    assert summed(own) is own
    assert collected(("a", "b")) == ["a", "b"]
    assert agreed(True, False) == (True, False)
    assert mean(1 / 3) == 1 / 3
    assert broadcast(lambda: own) is own
    done: list[int] = []
    with joined("cpu"):
        first_alone(lambda: done.append(1))
        meet()
    assert done == [1]


def refused(folder: Path) -> None:
    def refuse() -> None:
        raise ConfigError("of the first" if rank_and_count()[0] == 0 else "of another", hint="ask the first")

    with joined("cpu"):
        with pytest.raises(ConfigError, match="of the first"):
            broadcast(refuse)
        assert broadcast(lambda: rank_and_count()[0]) == 0
        (folder / str(rank_and_count()[0])).touch()


def test_where_the_first_finds_nothing_all_fail_alike(tmp_path: Path) -> None:
    run_together(2, refused, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]
