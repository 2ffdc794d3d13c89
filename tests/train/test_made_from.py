"""What something was made of."""

from pathlib import Path

import pytest

from enliven.errors import ConfigError
from enliven.train.made_from import FILE, named, require_same


def test_the_same_is_gone_on_with_and_what_differs_is_named(tmp_path: Path) -> None:
    folder, made_of = tmp_path / "new" / "lesson", {"clips": "1", "settings": "2", "weights": "3"}
    require_same(folder, made_of)
    require_same(folder, made_of)
    with pytest.raises(ConfigError, match=r"lesson was made of other clips and weights$"):
        require_same(folder, made_of | {"clips": "0", "weights": "0"})
    require_same(folder, made_of)


def test_a_folder_that_was_only_made_may_be_filled_and_one_of_which_nothing_is_known_not(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    require_same(tmp_path / "empty", {"clips": "1"})
    (tmp_path / "empty" / FILE).unlink()
    (tmp_path / "empty" / "model.safetensors").touch()
    with pytest.raises(ConfigError, match="does not tell what it was made of"):
        require_same(tmp_path / "empty", {"clips": "1"})


def test_names_sizes_and_count_of_files_tell_them_apart(tmp_path: Path) -> None:
    for name, held in (("a", b"1"), ("b", b"22"), ("other", b"1")):
        (tmp_path / name).write_bytes(held)
    first, second, other = (tmp_path / name for name in ("a", "b", "other"))
    before = named([first, second])
    assert before == named([first, second])
    assert len({before, named([first]), named([other, second]), named([second, first])}) == 4
    second.write_bytes(b"333")
    assert named([first, second]) != before
