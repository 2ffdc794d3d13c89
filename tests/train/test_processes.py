"""One process alone; that several agree is proven by the clusters they make together."""

import torch

from enliven.train.processes import gathered, own_share, rank_and_count, summed


def test_one_process_has_everything_already() -> None:
    own = torch.ones(3)
    assert rank_and_count() == (0, 1)
    assert own_share("abc") == "abc"
    assert summed(own) is own
    assert gathered(("a", "b")) == ["a", "b"]
