"""What something was made from."""

from pathlib import Path

import pytest

from enliven.errors import ConfigError
from enliven.train.made_from import FILE, READ, digest, note_made_from, require_made_from


def test_the_same_is_gone_on_with_and_what_differs_is_named(tmp_path: Path) -> None:
    folder, sources = tmp_path / "new" / "lesson", {"clips": "1", "settings": "2", "weights": "3"}
    require_made_from(folder, sources)
    assert not folder.exists()
    note_made_from(folder, sources)
    require_made_from(folder, sources)
    require_made_from(folder, {"settings": "2"})
    with pytest.raises(ConfigError, match=r"lesson was made from other clips and weights$"):
        require_made_from(folder, sources | {"clips": "0", "weights": "0"})
    require_made_from(folder, sources)


def test_an_empty_folder_may_be_filled_and_one_of_which_nothing_is_known_not(tmp_path: Path) -> None:
    folder = tmp_path / "lesson"
    folder.mkdir()
    (folder / ".DS_Store").touch()
    require_made_from(folder, {"clips": "1"})
    note_made_from(folder, {"clips": "1"})
    (folder / FILE).unlink()
    (folder / "model.safetensors").touch()
    with pytest.raises(ConfigError, match="does not tell what it was made from"):
        require_made_from(folder, {"clips": "1"})


def test_names_sizes_and_what_is_held_tell_files_apart(tmp_path: Path) -> None:
    for name, held in (("a", b"1"), ("b", b"22"), ("other", b"1")):
        (tmp_path / name).write_bytes(held)
    first, second, other = (tmp_path / name for name in ("a", "b", "other"))
    before = digest([first, second])
    assert before == digest([first, second])
    assert len({before, digest([first]), digest([other, second]), digest([second, first])}) == 4
    second.write_bytes(b"23")
    assert digest([first, second]) != before
    large = b"x" * 5 * READ
    second.write_bytes(large)
    before = digest([first, second])
    second.write_bytes(large[: 2 * READ] + b"y" * READ + large[: 2 * READ])
    assert digest([first, second]) != before
