"""What starting the command line costs: the heavy libraries stay out until a command needs them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "scipy", "av", "numpy", "diffusers", "matplotlib")


def imported_by(statement: str) -> set[str]:
    """The heavy libraries a fresh interpreter holds after ``statement``."""
    code = f"import sys\ntry:\n    {statement}\nexcept SystemExit:\n    pass\nsys.stderr.write(' '.join(sys.modules))"
    place = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=place)
    return set(HEAVY) & set(finished.stderr.split())


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["generate", "--help"], ["toon", "--help"], ["generate", "--porrait", "a.png"], ["nothing"]],
)
def test_help_and_typing_errors_stay_light(arguments: list[str]) -> None:
    assert imported_by(f"from enliven.cli import main; sys.argv = {['enliven', *arguments]!r}; main()") == set()


def test_importing_the_package_stays_light() -> None:
    assert imported_by("import enliven, enliven.config, enliven.errors") == set()
