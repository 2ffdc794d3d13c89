"""Soul's codebook applied: what stays, what moves and where to (3.2)."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from enliven.errors import ConfigError, WeightsError
from enliven.models.codebook import (
    Codebook,
    CodebookParams,
    Provenance,
    load_codebook,
    nearest,
    save_codebook,
    to_latents,
    to_vectors,
)

PARAMS = CodebookParams(size=70, channels=5, provenance=Provenance(data="abc", clips=3))

PEAK = """
import torch
from pathlib import Path
from enliven.models.codebook import Codebook, CodebookParams
codebook = Codebook(CodebookParams(size=40_000, channels=4))
codebook.centroids.normal_()
latents = torch.randn(1, 4, 2, 68, 120)

def peak_mib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

before = peak_mib()
codebook.repair(latents)
print(peak_mib() - before)
"""


def random_codebook(params: CodebookParams = PARAMS) -> Codebook:
    torch.manual_seed(0)
    codebook = Codebook(params)
    codebook.centroids.normal_()
    codebook.counts.random_(1, 100)
    codebook.spreads.uniform_(0.5, 1.5)
    codebook.percentiles.copy_(torch.rand(101).cumsum(0) * 0.04)
    codebook.relative.copy_(torch.rand(101).cumsum(0) * 0.04)
    return codebook


@pytest.mark.parametrize(("rows", "columns"), [(1000, 70), (3, 1), (300, 64), (20_000, 129)])
def test_the_nearest_centroid_is_that_of_all_pairs(rows: int, columns: int) -> None:
    torch.manual_seed(0)
    vectors, centroids = torch.randn(rows, 7) + 50, torch.randn(columns, 7) + 50
    index, distance = nearest(vectors, centroids)
    every = torch.cdist(vectors.double(), centroids.double(), compute_mode="donot_use_mm_for_euclid_dist")
    assert (index == every.argmin(dim=1)).double().mean() > 0.9998, "two may be as near as 32 bits can tell"
    torch.testing.assert_close(distance.double(), every.amin(dim=1), rtol=1e-5, atol=0)


def test_of_equal_centroids_the_first_is_nearest() -> None:
    index, distance = nearest(torch.ones(2, 3), torch.ones(200, 3))
    assert index.tolist() == [0, 0]
    assert distance.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("per_centroid", [False, True])
def test_what_lies_within_stays_and_the_rest_moves_to_the_sphere(per_centroid: bool) -> None:
    codebook = random_codebook(replace(PARAMS, per_centroid=per_centroid))
    latents = 1.3 * torch.randn(2, 5, 3, 4, 6)
    repaired, clipped = codebook.repair(latents)
    before, after = (to_vectors(each, "voxel").double() for each in (latents, repaired))
    offset = before[:, None] - codebook.centroids.double()
    index = offset.norm(dim=2).argmin(dim=1)
    offset = offset[torch.arange(len(index)), index]
    distance, radius = offset.norm(dim=1), codebook.radii()[index].double()
    outside = distance > radius
    assert 0.1 < outside.double().mean() < 0.9
    assert clipped == pytest.approx(outside.double().mean().item())
    assert torch.equal(after[~outside], before[~outside])
    expected = codebook.centroids[index].double() + offset * (radius / distance)[:, None]
    torch.testing.assert_close(after[outside], expected[outside], rtol=1e-5, atol=1e-5)


def test_repairing_twice_changes_nothing_more() -> None:
    codebook = random_codebook()
    once, _ = codebook.repair(torch.randn(1, 5, 2, 8, 8))
    torch.testing.assert_close(codebook.repair(once)[0], once, rtol=1e-5, atol=1e-5)


def test_half_precision_stays_bit_for_bit_where_it_is_within() -> None:
    codebook, latents = random_codebook(), torch.randn(1, 5, 2, 8, 8).bfloat16()
    repaired, clipped = codebook.repair(latents)
    same = (to_vectors(repaired, "voxel") == to_vectors(latents, "voxel")).all(dim=1)
    assert repaired.dtype == torch.bfloat16
    assert 0 < clipped < 1
    assert same.float().mean().item() == pytest.approx(1 - clipped, abs=0.02)


def test_the_radius_follows_the_percentile() -> None:
    codebook, latents = random_codebook(), torch.randn(1, 5, 2, 8, 8)
    table = codebook.percentiles
    assert codebook.radius() == table[99].item()
    assert codebook.radius(100) == table[100].item()
    assert codebook.radius(37.25) == pytest.approx((0.75 * table[37] + 0.25 * table[38]).item())
    shares = [codebook.repair(latents, percentile)[1] for percentile in (10, 50, 100)]
    assert shares[0] > shares[1] > shares[2]
    own = random_codebook(replace(PARAMS, per_centroid=True))
    torch.testing.assert_close(own.radii(40), own.spreads * own.relative[40])
    for percentile in (-1.0, 100.5, float("nan")):
        with pytest.raises(ConfigError, match="percentile"):
            codebook.radius(percentile)


def test_a_patch_is_four_neighbouring_cells() -> None:
    latents = torch.arange(2 * 3 * 2 * 4 * 6).reshape(2, 3, 2, 4, 6).float()
    vectors = to_vectors(latents, "patch")
    assert vectors.shape == (2 * 2 * 2 * 3, 12)
    assert sorted(vectors[1].tolist()) == sorted(latents[0, :, 0, :2, 2:4].flatten().tolist())
    for unit in ("voxel", "patch"):
        assert torch.equal(to_latents(to_vectors(latents, unit), latents.shape, unit), latents)
    with pytest.raises(ValueError, match="3 x 6"):
        to_vectors(latents[..., :3, :], "patch")


def test_a_patch_moves_as_a_whole() -> None:
    codebook = random_codebook(replace(PARAMS, unit="patch"))
    latents = torch.zeros(1, 5, 1, 2, 4)
    codebook.centroids.zero_()
    codebook.percentiles.fill_(1.0)
    latents[..., 3], latents[0, 0, 0, 0, 0] = 2.0, 0.5
    repaired, clipped = codebook.repair(latents)
    assert clipped == 0.5
    assert torch.equal(repaired[..., :2], latents[..., :2])
    assert repaired[..., 2:].norm().item() == pytest.approx(1.0)


def test_latents_of_another_model_are_refused() -> None:
    with pytest.raises(WeightsError, match=r"5 channels.*4"):
        random_codebook().repair(torch.randn(1, 4, 1, 2, 2))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how much memory a process has had")
def test_forty_thousand_centroids_need_little_memory() -> None:
    told = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert float(told.stdout) < 200


def test_a_folder_gives_the_codebook_back(tmp_path: Path) -> None:
    codebook = random_codebook()
    save_codebook(codebook, tmp_path / "codebook")
    loaded = load_codebook(tmp_path / "codebook")
    assert loaded.params == codebook.params
    state = loaded.state_dict()
    assert set(state) == {"centroids", "counts", "spreads", "percentiles", "relative"}
    assert all(torch.equal(value, state[name]) for name, value in codebook.state_dict().items())
    stored = load_file(next((tmp_path / "codebook").glob("*.safetensors")))
    assert stored["centroids"].dtype == torch.float32


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot read config.json"),
        ("{", "cannot read config.json"),
        ("[]", "cannot read config.json"),
        ('{"network": "longcat"}', "'longcat'"),
        ('{"network": "codebook", "sise": 3}', "did you mean 'size'"),
        ('{"network": "codebook", "percentile": 101}', "101 is not a percentile"),
        (json.dumps({"network": "codebook", "size": 3, "channels": 2}), "no weights"),
    ],
)
def test_what_is_no_codebook_is_refused(content: str | None, told: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(WeightsError, match=told):
        load_codebook(tmp_path)
