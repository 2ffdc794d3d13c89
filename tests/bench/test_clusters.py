import pytest
import torch

from enliven.bench.clusters import LONGEST, clusters_part, measure
from enliven.train.clusters import choose, cluster


def test_two_processes_share_the_work_and_find_what_one_finds() -> None:
    sizes = {"vectors": 3001, "width": 8, "size": 70, "iterations": 3}
    told = measure(2, **sizes)
    vectors = torch.randn(3001, 8, generator=torch.Generator().manual_seed(0))
    alone = cluster(vectors, choose(vectors, 70, seed=0), iterations=3)
    assert (told["processes"], told["threads"]) == (2, 1)
    assert {name: told[name] for name in sizes} == sizes
    assert told["mean_squared_distance"] == pytest.approx(alone.squared.sum().item() / 3001, abs=1e-4)


def test_more_than_three_minutes_is_too_long() -> None:
    told = {"vectors": 1, "width": 1, "size": 1, "iterations": 1, "processes": 2, "seconds": LONGEST + 1}
    part = clusters_part(told | {"processor_seconds": 1.0, "gflop_per_second": 1.0, "mean_squared_distance": 1.0})
    assert [check.passed for check in part.checks] == [False, True, True, True]
