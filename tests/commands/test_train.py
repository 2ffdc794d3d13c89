"""``enliven train`` before any training begins."""

from pathlib import Path

import pytest

from enliven.cli import run

RECIPE = Path(__file__).parents[2] / "examples" / "toon.toml"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--stage", "bakcbone"], "backbone"),
        (["--set", "backbone.minuts=1"], "did you mean 'minutes'"),
        (["--set", "clips=many"], "clips"),
    ],
)
def test_a_recipe_is_refused_before_anything_is_written(
    arguments: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["train", str(RECIPE), *arguments]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
