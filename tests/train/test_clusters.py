"""k-means: agrees with scipy, leaves no centroid without vectors, and several processes are as good as one."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from scipy.cluster.vq import kmeans2

from enliven.train import clusters as module
from enliven.train.clusters import Start, choose, cluster, split_empty
from enliven.types import Progress

ONE_OF_TWO = """
import sys
import torch
from datetime import timedelta
from safetensors.torch import save_file
from enliven.train.clusters import choose, cluster
from enliven.train.processes import collected, own_share
rank, address, path = int(sys.argv[1]), sys.argv[2], sys.argv[3]
torch.distributed.init_process_group(
    "gloo", init_method=address, rank=rank, world_size=2, timeout=timedelta(seconds=60)
)
torch.manual_seed(0)
vectors = torch.randn(2001, 6)
found = cluster(own_share(vectors), choose(own_share(vectors), 30, seed=3), iterations=6)
assert collected(own_share("abc")) == ["a", "b", "c"]
save_file({"centroids": found.centroids, "counts": found.counts}, f"{path}/{rank}.safetensors")
torch.distributed.destroy_process_group()
"""


def blobs(count: int = 3000, width: int = 6) -> torch.Tensor:
    torch.manual_seed(1)
    return 4 * torch.randn(12, width)[torch.randint(12, (count,))] + torch.randn(count, width)


def test_scipy_finds_the_same_centroids() -> None:
    vectors, start = blobs(), blobs()[:20].clone()
    found = cluster(vectors, Start(start), iterations=25)
    expected, labels = kmeans2(vectors.double().numpy(), start.double().numpy(), iter=found.iterations, minit="matrix")
    torch.testing.assert_close(found.centroids.double(), torch.from_numpy(expected), rtol=1e-5, atol=1e-5)
    _, labels = kmeans2(vectors.double().numpy(), expected, iter=1, minit="matrix")
    assert found.counts.tolist() == torch.bincount(torch.from_numpy(labels).long(), minlength=20).tolist()
    squared = (vectors - found.centroids[torch.from_numpy(labels).long()]).square().sum()
    assert found.squared.sum().item() == pytest.approx(squared.item(), rel=1e-4)


def test_it_stops_when_nothing_moves_any_more() -> None:
    vectors = blobs(200)
    long = cluster(vectors, choose(vectors, 8, seed=0), iterations=500)
    assert long.iterations < 500
    assert torch.equal(cluster(vectors, Start(long.centroids), iterations=1).centroids, long.centroids)


def test_going_on_is_as_good_as_never_having_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 100)
    vectors, heard, told = blobs(250), list[Start](), list[Progress]()
    whole = cluster(vectors, choose(vectors, 40, seed=0), iterations=5, on_update=heard.append, on_progress=told.append)
    assert [(each.done, each.total) for each in told] == [(i + 1, 18) for i in range(18)]
    again = cluster(vectors, heard[2], iterations=5)
    assert (again.iterations, whole.iterations) == (5, 5)
    assert torch.equal(again.centroids, whole.centroids)


def test_no_centroid_stays_without_vectors() -> None:
    vectors = blobs()
    far = Start(torch.cat([vectors[:10], torch.full((30, 6), 1e3)]))
    found = cluster(vectors, far, iterations=15)
    assert int(found.counts.min()) > 0
    assert int(found.counts.sum()) == len(vectors)


def test_the_most_used_centroids_are_split() -> None:
    centroids = torch.randn(6, 4)
    split = split_empty(centroids, torch.tensor([5, 0, 90, 1, 0, 7]))
    assert torch.equal(split[[0, 3]], centroids[[0, 3]])
    torch.testing.assert_close((split[1] + split[2]) / 2, centroids[2])
    torch.testing.assert_close((split[4] + split[5]) / 2, centroids[5])
    assert 0 < (split[1] - split[2]).norm() < 0.1
    single = split_empty(centroids, torch.tensor([1, 0, 1, 0, 0, 1]))
    assert torch.equal(single, centroids)


def test_centroids_start_as_different_vectors() -> None:
    vectors = torch.arange(50.0)[:, None]
    chosen = choose(vectors, 20, seed=1).centroids
    assert len(chosen.unique()) == 20
    assert set(chosen.flatten().tolist()) <= set(range(50))
    assert torch.equal(choose(vectors, 20, seed=1).centroids, chosen)
    assert not torch.equal(choose(vectors, 20, seed=2).centroids, chosen)
    with pytest.raises(ValueError, match="51 centroids"):
        choose(vectors, 51, seed=0)


def test_sums_do_not_drown_in_large_numbers() -> None:
    """In 32 bits, a sum of this many numbers near 1000 is off by more than their spread."""
    vectors = 1000 + torch.rand(50_000, 1, generator=torch.Generator().manual_seed(0)) * 1e-2
    found = cluster(vectors, Start(vectors[:1].clone()), iterations=1)
    assert found.centroids.item() == pytest.approx(vectors.double().mean().item(), abs=1e-4)


def test_two_processes_are_as_good_as_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    command = [sys.executable, "-c", ONE_OF_TWO]
    running = [subprocess.Popen([*command, str(rank), address, str(tmp_path)]) for rank in (0, 1)]
    assert [process.wait(120) for process in running] == [0, 0]
    torch.manual_seed(0)
    vectors = torch.randn(2001, 6)
    alone = cluster(vectors, choose(vectors, 30, seed=3), iterations=6)
    for rank in (0, 1):
        found = load_file(tmp_path / f"{rank}.safetensors")
        torch.testing.assert_close(found["centroids"], alone.centroids, rtol=1e-6, atol=1e-6)
        assert torch.equal(found["counts"], alone.counts)


def test_the_benchmark_reports_what_it_did(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["clusters", "--vectors", "20000", "--size", "90", "--iterations", "2"])
    module.main()
    told = json.loads(capsys.readouterr().out)
    assert (told["vectors"], told["width"], told["size"], told["iterations"]) == (20000, 48, 90, 2)
    assert told["gflop_per_second"] > 0
