import os
import subprocess
import sys
from pathlib import Path

import pytest

from enliven.errors import StorageError
from enliven.media.storage import check_target, replacing


def test_the_file_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    target.write_text("old")
    with replacing(target) as part:
        part.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_a_failing_block_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    target.write_text("old")
    with pytest.raises(TypeError), replacing(target) as part, part.open("w") as file:
        file.writelines(["half", 0])  # type: ignore[list-item]
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_a_link_keeps_pointing_to_the_file_it_names(tmp_path: Path) -> None:
    (tmp_path / "real.mp4").write_text("old")
    (tmp_path / "link.mp4").symlink_to("real.mp4")
    with replacing(tmp_path / "link.mp4") as part:
        part.write_text("new")
    assert (tmp_path / "link.mp4").is_symlink()
    assert (tmp_path / "real.mp4").read_text() == "new"


def test_places_that_cannot_be_written_are_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cases = {
        tmp_path: ("is a folder", "add a file name"),
        tmp_path / "missing" / "out.mp4": ("no such file", "create the folder"),
        tmp_path / "file" / "out.mp4": ("not a directory", "a part of that path is a file"),
        tmp_path / ("x" * 300): ("too long", "shorter name"),
        Path("/dev/full"): ("not an ordinary file", "another name"),
        Path("/proc/out.mp4"): ("cannot be written", "another"),
    }
    for path, (message, hint) in cases.items():
        with pytest.raises(StorageError, match=message) as caught:
            check_target(path)
        assert hint in caught.value.hint or path == Path("/proc/out.mp4")


FULL_DISK = """
import resource, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from enliven.errors import StorageError
from enliven.media.storage import replacing
from enliven.media.video import encode_segment
from enliven.media.mux import join_segments
folder = Path(sys.argv[1])
noise = torch.randint(0, 255, (30, 3, 64, 64), dtype=torch.uint8)
encode_segment([noise], 25, folder / "good.mp4")
def save():
    with replacing(folder / "bad.safetensors") as part:
        save_file({"noise": noise}, part)
for limit in (0, 100, 5000, 60000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for write in (
        lambda: encode_segment([noise], 25, folder / "bad.mp4"),
        lambda: join_segments([folder / "good.mp4"], folder / "bad.mp4", fps=25),
        save,
    ):
        try:
            write()
        except StorageError as error:
            assert "too large" in str(error) and error.hint, error
        else:
            raise SystemExit(f"no error at {limit}")
"""


def test_a_full_disk_is_reported_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": "src"}
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert os.listdir(tmp_path) == ["good.mp4"]
