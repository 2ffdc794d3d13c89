"""``enliven distill`` before any training begins."""

from pathlib import Path

import pytest

from enliven.cli import run

RECIPE = Path(__file__).parents[2] / "examples" / "distill-longcat.toml"


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("minuts=1", "did you mean 'minutes'"),
        ("model=longcat-toon", "longcat-toon is no student"),
        ("teacher=nowhere", "holds no backbone, audio, text of a teacher"),
    ],
)
def test_a_recipe_is_refused_before_anything_is_written(
    setting: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["distill", str(RECIPE), "--set", setting]) != 0
    shown = capsys.readouterr().err
    assert told in shown
    assert "hint: " in shown
    assert not list(tmp_path.iterdir())
