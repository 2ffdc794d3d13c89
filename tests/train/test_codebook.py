"""A codebook from clips: which vectors it learns from, what it measures, and what it refuses."""

import math
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch

from encoded_clips import write_clip, write_clips
from enliven.data.encoded import load_encoded
from enliven.data.latents import StoredClip
from enliven.data.shards import ShardWriter
from enliven.errors import Cancelled, ConfigError, MediaError
from enliven.models.codebook import Codebook, CodebookParams, to_vectors
from enliven.train.clusters import Clusters
from enliven.train.codebook import (
    CodebookRecipe,
    assemble,
    fit_codebook,
    sample_vectors,
    split_clips,
    spreads,
    stored_clips,
)
from enliven.types import Progress

RECIPE = CodebookRecipe(size=12, iterations=8, held_out=0.2)
PARAMS = CodebookParams(size=12, channels=3)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    return write_clips(tmp_path / "clips")


def real(stored: list[StoredClip]) -> torch.Tensor:
    """Every vector of some clips, the first latents left out."""
    return torch.cat([to_vectors(clip.latents()[None, :, 1:], "voxel") for clip in stored])


def test_a_codebook_of_a_folder_of_clips(clips: Path) -> None:
    codebook = fit_codebook(clips, RECIPE)
    told = codebook.params.provenance
    assert (codebook.params.channels, told.clips, told.vectors, told.held_out) == (3, 8, 8 * 72, 2 * 72)
    assert int(codebook.counts.sum()) == told.vectors
    assert codebook.centroids.abs().max() < 10, "first latents were learnt"
    learnt, held_out = split_clips(stored_clips(clips), 0.2, 0)
    assert told.spread == pytest.approx(real(learnt).square().mean().sqrt().item(), abs=1e-3)
    distance = torch.cdist(real(held_out), codebook.centroids).amin(dim=1)
    expected = numpy.percentile(distance.numpy(), numpy.arange(101))
    torch.testing.assert_close(codebook.percentiles, torch.from_numpy(expected).float(), rtol=1e-4, atol=1e-4)


def test_shards_and_files_of_the_same_clips_make_the_same_codebook(tmp_path: Path) -> None:
    """Files as they come out of the tar files, which have the same names."""
    loose, shards = tmp_path / "loose", tmp_path / "shards"
    shards.mkdir()
    with ShardWriter(shards, shard_bytes=9000) as writer:
        for path in sorted(write_clips(tmp_path / "clips").iterdir()):
            writer.add(load_encoded(path), "a film", 0)
    for path in shards.glob("*.tar"):
        with tarfile.open(path) as tar:
            tar.extractall(loose, filter="data")
    assert len(list(shards.glob("*.tar"))) > 1
    one, other = (fit_codebook(folder, RECIPE) for folder in (loose, shards))
    assert one.params == other.params
    assert one.params.provenance.clips == 8
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])
    (shards / "shard_000_00000.tar").write_bytes(b"")
    with pytest.raises(MediaError, match=r"000_00000_00000\d in .*shard_000_00000\.tar is damaged"):
        fit_codebook(shards, RECIPE)


@pytest.mark.parametrize("per_centroid", [False, True])
def test_as_many_real_latents_are_left_alone_as_asked(clips: Path, per_centroid: bool) -> None:
    codebook = fit_codebook(clips, replace(RECIPE, percentile=75.0, per_centroid=per_centroid))
    _, held_out = split_clips(stored_clips(clips), 0.2, 0)
    latents = torch.stack([clip.latents()[:, 1:] for clip in held_out])
    for percentile, clipped in ((None, 0.25), (90.0, 0.1), (100.0, 0.0)):
        assert codebook.repair(latents, percentile)[1] == pytest.approx(clipped, abs=0.011)


def test_radii_of_their_own_follow_how_wide_the_vectors_lie(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    for number in range(8):
        latents = torch.randn(2, 5, 16, 16, generator=torch.Generator().manual_seed(number))
        latents[:, :, 8:] = latents[:, :, 8:] * 0.05 + 8
        write_clip(tmp_path / "clips" / f"{number}.safetensors", latents)
    codebook = fit_codebook(
        tmp_path / "clips", replace(RECIPE, size=2, percentile=90.0, per_centroid=True, vectors=6000)
    )
    narrow, wide = codebook.radii()[codebook.centroids[:, 0].argsort(descending=True)].tolist()
    assert wide == pytest.approx(math.sqrt(2 * math.log(10)), rel=0.05), "90 % of a Rayleigh distribution"
    assert narrow == pytest.approx(0.05 * wide, rel=0.05)


def test_spreads_are_root_mean_squares_also_of_few() -> None:
    counts, squared = torch.tensor([101, 11, 1, 0]), torch.tensor([400.0, 40.0, 0.0, 0.0]).double()
    found = spreads(Clusters(torch.zeros(4, 2), counts, squared, 1)).square()
    torch.testing.assert_close(found, torch.tensor([4.0, 4.0, 4.0, 4.0]), rtol=1e-5, atol=0)


def test_equal_vectors_make_no_radius_that_is_not_a_number() -> None:
    clusters = Clusters(torch.zeros(1, 2), torch.tensor([9]), torch.zeros(1).double(), 1)
    params = CodebookParams(size=1, channels=2, per_centroid=True)
    codebook: Codebook = assemble(params, clusters, torch.zeros(4, dtype=torch.int64), torch.zeros(4))
    repaired, clipped = codebook.repair(torch.ones(1, 2, 1, 1, 1))
    assert (repaired.abs().max().item(), clipped) == (0.0, 1.0)


def test_every_clip_gives_about_as_many_vectors(clips: Path) -> None:
    codebook = fit_codebook(clips, replace(RECIPE, vectors=100))
    assert codebook.params.provenance.vectors == 8 * math.ceil(100 / 8)


def test_a_sample_is_of_real_vectors_and_depends_on_seed_and_name(clips: Path) -> None:
    stored = stored_clips(clips)
    sample = sample_vectors(stored, PARAMS, 7, 0)
    assert sample.vectors.shape == (70, 3)
    assert torch.cdist(sample.vectors[:7], real(stored[:1])).amin(dim=1).max() == 0
    assert len(sample.vectors[:7].unique(dim=0)) == 7
    alone = sample_vectors(stored[4:5], PARAMS, 7, 0)
    assert torch.equal(alone.vectors, sample.vectors[28:35])
    assert alone.digests == sample.digests[4:5]
    assert sample_vectors(stored[4:5], PARAMS, 7, 1).digests != alone.digests


def test_the_same_seed_and_clips_give_the_same_codebook(clips: Path) -> None:
    first, again, other = (fit_codebook(clips, replace(RECIPE, seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(first.centroids, again.centroids)
    assert first.params == again.params
    assert first.params.provenance.data != other.params.provenance.data


def test_a_stopped_fit_goes_on_with_the_same_data_only(clips: Path, tmp_path: Path) -> None:
    whole, stages = fit_codebook(clips, RECIPE), list[int]()

    def stop(progress: Progress) -> None:
        if progress.stage == "k-means":
            stages.append(progress.done)
            if progress.done == 4:
                raise Cancelled("stopped")

    keep = tmp_path / "keep"
    with pytest.raises(Cancelled):
        fit_codebook(clips, RECIPE, keep=keep, on_progress=stop)
    stages.clear()
    again = fit_codebook(clips, RECIPE, keep=keep, on_progress=lambda progress: stages.append(progress.done))
    assert torch.equal(again.centroids, whole.centroids)
    assert again.params == whole.params
    other = fit_codebook(clips, replace(RECIPE, seed=5), keep=keep)
    assert torch.equal(other.centroids, fit_codebook(clips, replace(RECIPE, seed=5)).centroids)


def test_patches_are_learnt_as_patches(clips: Path) -> None:
    codebook = fit_codebook(clips, replace(RECIPE, unit="patch"))
    assert codebook.centroids.shape == (12, 12)
    assert codebook.params.provenance.vectors == 8 * 72 // 4


def test_what_cannot_be_learnt_from_is_refused(clips: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder, told in ((tmp_path / "empty", "no encoded clips"), (tmp_path / "absent", "no encoded clips")):
        with pytest.raises(ConfigError, match=told):
            fit_codebook(folder, RECIPE)
    with pytest.raises(ConfigError, match="600 centroids are too many for 576 vectors"):
        fit_codebook(clips, replace(RECIPE, size=600))
    (clips / "005.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ConfigError, match=r"005\.safetensors is not an encoded clip"):
        fit_codebook(clips, RECIPE)
    write_clip(clips / "005.safetensors", torch.randn(4, 3, 4, 6))
    with pytest.raises(ConfigError, match=r"005\.safetensors has 4 channels, other clips have 3"):
        fit_codebook(clips, RECIPE)
    write_clip(clips / "005.safetensors", torch.full((3, 3, 4, 6), float("nan")))
    with pytest.raises(ConfigError, match="not finite"):
        fit_codebook(clips, RECIPE)
    write_clip(clips / "005.safetensors", torch.randn(3, 3, 3, 6))
    with pytest.raises(ConfigError, match="3 x 6"):
        fit_codebook(clips, replace(RECIPE, unit="patch"))


@pytest.mark.parametrize(
    "fault", [{"size": 0}, {"vectors": 0}, {"iterations": 0}, {"held_out": 0.0}, {"held_out": 1.0}, {"percentile": 101}]
)
def test_a_recipe_of_nothing_is_refused(fault: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        replace(RECIPE, **fault)
