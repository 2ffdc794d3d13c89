"""The habits of this tree that no linter knows."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "enliven"
TESTS = ROOT / "tests"

MOST_LINES = 400
MOST_BYTES = 16 * 2**20
VAGUE_FILES = {"util", "utils", "common", "helper", "helpers", "base", "core", "misc"}
VAGUE_CLASS = re.compile(r"^(Base|Abstract)[A-Z]|(Base|Mixin|Manager|Factory|Helper|Util|Utils)$")
UNFINISHED = re.compile("|".join(["TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK", "Not" + "ImplementedError"]))
ONE_MACHINE = re.compile(r"(?<![\w.])/(home|root|tmp|Users)/\w")


def python_files(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def modules() -> list[Path]:
    return [path for path in python_files(SOURCE) if not path.name.startswith("__")]


def text_files() -> Iterator[Path]:
    yield from python_files(SOURCE, TESTS)
    written = [*ROOT.iterdir(), *(ROOT / "docs").rglob("*"), *(ROOT / "examples").rglob("*")]
    yield from (path for path in written if path.suffix in {".md", ".toml", ".txt"} or path.name == "Makefile")


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_files_stay_small(capsys: pytest.CaptureFixture[str]) -> None:
    lines = {path: path.read_text().count("\n") for path in python_files(SOURCE, TESTS)}
    source = sum(count for path, count in lines.items() if path.is_relative_to(SOURCE))
    with capsys.disabled():
        sys.stdout.write(f"\nlines of Python: {source} in src, {sum(lines.values()) - source} in tests\n")
    assert not {shown(path): count for path, count in lines.items() if count > MOST_LINES}


def test_every_module_has_its_test() -> None:
    """A worker is a program of its own, tested through the module that starts it."""
    tested = [path for path in modules() if not path.stem.endswith("_worker")]
    expected = [TESTS / path.relative_to(SOURCE).with_name(f"test_{path.name}") for path in tested]
    assert not [shown(test) for test in expected if not test.exists()]


def test_file_names_say_what_is_inside() -> None:
    folders = [path for path in SOURCE.rglob("*") if path.is_dir()]
    assert not [shown(path) for path in [*modules(), *folders] if path.stem in VAGUE_FILES]


def test_packages_hold_no_packages() -> None:
    assert not [shown(path) for path in SOURCE.glob("*/*/**/__init__.py")]


def test_class_names_say_what_they_are() -> None:
    classes = [
        (shown(path), node.name)
        for path in python_files(SOURCE)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    assert classes
    assert not [each for each in classes if VAGUE_CLASS.search(each[1])]


def test_nothing_is_left_for_later() -> None:
    assert not [shown(path) for path in python_files(SOURCE, TESTS) if UNFINISHED.search(path.read_text())]


def test_annotations_stay_real_for_the_shape_checks() -> None:
    future = re.compile(r"^from __future__ import annotations", re.MULTILINE)
    assert not [shown(path) for path in python_files(SOURCE) if future.search(path.read_text())]


def test_no_path_of_one_machine() -> None:
    assert not [shown(path) for path in text_files() if ONE_MACHINE.search(path.read_text())]


def test_public_names_are_there() -> None:
    """Where a module has ``__all__``, each name in it stands once and is one that the module holds."""
    for path in python_files(SOURCE):
        listed = public_list(path)
        assert len(set(listed)) == len(listed), shown(path)
        assert set(listed) <= held(path), shown(path)


def public_list(path: Path) -> list[str]:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "__all__" for target in node.targets):
            return list(ast.literal_eval(node.value))
    return []


def held(path: Path) -> set[str]:
    """What a module defines or imports, at any depth, and its constants that say their type."""
    module = ast.parse(path.read_text())
    nodes = list(ast.walk(module))
    imported = {
        alias.asname or alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    constants = {getattr(node.target, "id", "") for node in module.body if isinstance(node, ast.AnnAssign)}
    return imported | constants | {node.name for node in nodes if isinstance(node, ast.ClassDef | ast.FunctionDef)}


def test_no_file_is_too_large_to_carry() -> None:
    assert not [shown(path) for path in SOURCE.rglob("*") if path.is_file() and path.stat().st_size > MOST_BYTES]


def test_every_target_of_the_makefile_runs_whatever_files_there_are() -> None:
    lines = (ROOT / "Makefile").read_text().splitlines()
    (phony,) = (line.split()[1:] for line in lines if line.startswith(".PHONY:"))
    assert sorted(phony) == sorted(match[1] for line in lines if (match := re.match(r"([a-z-]+):(?!=)", line)))
