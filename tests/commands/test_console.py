"""What the commands write, and where they may."""

from pathlib import Path

import pytest

from enliven.commands.console import make_folder, say, target
from enliven.errors import ConfigError, StorageError


def test_lines_are_written_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    long = "a " * 200
    say("[bold]not markup[/bold]", long)
    assert capsys.readouterr().out == f"[bold]not markup[/bold]\n{long}\n"


def test_the_folder_of_a_target_is_made(tmp_path: Path) -> None:
    path = target(tmp_path / "a" / "b" / "video.MP4", ".mp4")
    assert path.parent.is_dir()
    assert not path.exists()


def test_a_target_of_another_kind_is_refused_with_a_better_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"video\.mov") as caught:
        target(tmp_path / "video.mov", ".mp4")
    assert "video.mp4" in caught.value.hint


def test_a_folder_inside_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    with pytest.raises(StorageError):
        make_folder(tmp_path / "file" / "folder")
