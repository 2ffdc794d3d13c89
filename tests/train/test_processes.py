"""One process alone; that several agree is proven by the clusters they make together."""

import torch

from enliven.train.processes import (
    agreed,
    collected,
    first_alone,
    from_first,
    joined,
    mean,
    meet,
    own_share,
    rank_and_count,
    summed,
)


def test_one_process_has_everything_already() -> None:
    own = torch.ones(3)
    assert rank_and_count() == (0, 1)
    assert own_share("abc") == "abc"
    assert summed(own) is own
    assert collected(("a", "b")) == ["a", "b"]
    assert agreed(True, False) == (True, False)
    assert mean(1 / 3) == 1 / 3
    assert from_first(lambda: own) is own
    done: list[int] = []
    with joined("cpu"):
        first_alone(lambda: done.append(1))
        meet()
    assert done == [1]
