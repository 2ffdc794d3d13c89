"""Nothing that was recorded is left out: each file, and each call in it, is named by a test that reads such files."""

import ast
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from golden_files import Case, golden, golden_folder

TESTS = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Reader:
    """A test that reads recorded calls: the strings in its code, and the kinds of which it takes every call."""

    test: str
    strings: frozenset[str]
    kinds: frozenset[str]

    def compares(self, case: Case) -> bool:
        return case.name in self.strings or case.kind in self.kinds


def reader(test: Path) -> Reader:
    nodes = list(ast.walk(ast.parse(test.read_text())))
    compared = [node for node in nodes if isinstance(node, ast.Compare)]
    asked = {id(node.left) for node in compared}  # as whether a string is in a configuration
    kinds = [node for node in compared if isinstance(node.left, ast.Attribute) and node.left.attr == "kind"]
    return Reader(
        str(test.relative_to(TESTS)),
        frozenset(found.value for found in nodes if is_string(found) and id(found) not in asked),
        frozenset(found.value for node in kinds for found in node.comparators if is_string(found)),
    )


def is_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_every_recorded_call_is_compared(capsys: pytest.CaptureFixture[str]) -> None:
    tests = [test for test in sorted(TESTS.rglob("test_*.py")) if "from golden_files import" in test.read_text()]
    readers = [reader(test) for test in tests if test != Path(__file__).resolve()]
    table, forgotten = [], []
    for path in sorted(golden_folder().glob("*.safetensors")):
        reading = [each for each in readers if path.stem in each.strings]
        table.append(f"{path.stem:20}{', '.join(each.test for each in reading) or 'no test'}")
        for case in golden(path.stem).cases:
            if not any(each.compares(case) for each in reading):
                forgotten.append(f"{path.stem}: {case.name}")
    with capsys.disabled():
        sys.stdout.write("\n".join(["", *table, ""]))
    assert table
    assert not forgotten
