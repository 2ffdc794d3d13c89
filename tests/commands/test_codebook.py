"""``enliven codebook``: learnt from clips, looked at, and refused where it makes no sense."""

import shutil
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from encoded_clips import write_clips
from enliven.cli import run
from enliven.commands.codebook import evenness
from enliven.data import latents as module
from enliven.data.encoded import EncodedClip
from enliven.models.codebook import Codebook, CodebookParams, load_codebook
from enliven.runtime.launch import process_rank
from several_processes import run_together

FIT = ("--size", "12", "--percentile", "90", "--held-out", "0.2", "-o")


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("learnt")
    write_clips(folder / "clips")
    assert run(["codebook", "fit", str(folder / "clips"), *FIT, str(folder / "codebook")]) == 0
    return folder


def test_a_folder_of_clips_becomes_a_codebook(learnt: Path) -> None:
    codebook = load_codebook(learnt / "codebook")
    assert (codebook.params.size, codebook.params.percentile, codebook.params.channels) == (12, 90.0, 3)
    assert codebook.repair(torch.full((1, 3, 1, 2, 2), 9.0))[1] == 1.0
    assert not (learnt / "codebook" / "unfinished").exists()


def test_a_codebook_is_told_and_drawn(learnt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    codebook, path = load_codebook(learnt / "codebook"), tmp_path / "new" / "picture.png"
    assert run(["codebook", "show", str(learnt / "codebook"), "-o", str(path)]) == 0
    told = capsys.readouterr().out
    assert "12 centroids of 3 numbers (voxel), from 576 vectors of 8 clips" in told
    assert f"{codebook.percentiles[90]:.3f} at 90 % of 144 held-out vectors" in told
    assert f"{codebook.counts.min()} to {codebook.counts.max()}" in told
    with Image.open(path) as picture:
        assert picture.width > 800


def test_radii_of_their_own_are_told_and_drawn(
    learnt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit = ["codebook", "fit", str(learnt / "clips"), "--per-centroid", *FIT, str(tmp_path / "own")]
    assert run(fit) == 0
    low, high = load_codebook(tmp_path / "own").radii().aminmax()
    assert run(["codebook", "show", str(tmp_path / "own"), "-o", str(tmp_path / "own.png")]) == 0
    assert f"{low:.3f} to {high:.3f} at 90 %" in capsys.readouterr().out
    assert run(["codebook", "show", str(learnt / "codebook"), "-o", str(tmp_path / "one.png")]) == 0
    with Image.open(tmp_path / "own.png") as own, Image.open(tmp_path / "one.png") as one:
        assert own.width > one.width


def test_learning_again_replaces_a_codebook(learnt: Path, tmp_path: Path) -> None:
    shutil.copytree(learnt / "codebook", tmp_path / "codebook")
    arguments = ["codebook", "fit", str(learnt / "clips"), "--size", "5", "-o", str(tmp_path / "codebook")]
    assert run(arguments) == 0
    assert load_codebook(tmp_path / "codebook").params.size == 5


def fit_together(folder: Path) -> None:
    """In each of three processes, which say what they have read."""
    read, load = [], module.load_encoded

    def watched(path: Path) -> EncodedClip:
        read.append(path.name)
        return load(path)

    module.load_encoded = watched
    assert run(["codebook", "fit", str(folder / "clips"), *FIT, str(folder / "together")]) == 0
    (folder / f"read-{process_rank()}").write_text("\n".join(read))


def test_three_processes_learn_the_codebook_of_one(
    learnt: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each reads its own clips, and the first of all for its size; one of them has none of those that are held out."""
    shutil.copytree(learnt / "clips", tmp_path / "clips")
    run_together(3, fit_together, tmp_path)
    alone, together = (load_codebook(folder) for folder in (learnt / "codebook", tmp_path / "together"))
    assert together.params == alone.params
    torch.testing.assert_close(together.state_dict(), alone.state_dict())
    assert capfd.readouterr().out.count("look at it with") == 1
    read = [set((tmp_path / f"read-{rank}").read_text().splitlines()) for rank in range(3)]
    assert len(read[0] & read[1] & read[2]) == 1
    assert sum(len(names) - 1 for names in read) + 1 == len(set.union(*read)) == 10
    assert sorted(path.name for path in (tmp_path / "together").iterdir()) == sorted(
        path.name for path in (learnt / "codebook").iterdir()
    )


def test_a_folder_of_other_files_is_never_written_to(learnt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clips = learnt / "clips"
    before = {path.name for path in clips.iterdir()}
    assert run(["codebook", "fit", str(clips), *FIT, str(clips)]) == 2
    assert "holds other files" in capsys.readouterr().err
    assert {path.name for path in clips.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["fit", "nowhere"], 2, "nowhere holds no encoded clips"),
        (["fit", "clips", "--size", "1000"], 2, "1000 centroids are too many"),
        (["fit", "clips", "--size", "0"], 2, "size 0"),
        (["fit", "clips", "--percentile", "101"], 2, "101 is not a percentile"),
        (["fit", "clips", "--unit", "pixel"], 2, "voxel"),
        (["show", "clips"], 1, "clips is not the folder of a codebook"),
        (["show", "codebook", "-o", "picture.gif"], 2, "picture.png"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(
    arguments: list[str],
    code: int,
    told: str,
    learnt: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(learnt)
    output = ["-o", "fresh"] if arguments[0] == "fit" else []
    assert run(["codebook", *arguments, *output]) == code
    shown = capsys.readouterr().err
    assert told in shown
    assert shown.count("error:") == 1
    assert not (learnt / "fresh").exists()


def test_drawing_needs_matplotlib_and_says_so(
    learnt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert run(["codebook", "show", str(learnt / "codebook"), "-o", str(tmp_path / "a.png")]) == 1
    assert "pip install 'enliven[plot]'" in capsys.readouterr().err


def test_evenness_counts_the_centroids_that_matter() -> None:
    codebook = Codebook(CodebookParams(size=6, channels=1))
    codebook.counts.copy_(torch.tensor([7, 7, 7, 0, 0, 0]))
    assert evenness(codebook) == pytest.approx(3)
    codebook.counts.copy_(torch.tensor([1000, 1, 0, 0, 0, 0]))
    assert 1 < evenness(codebook) < 1.1
