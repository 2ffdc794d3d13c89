"""The list of models."""

from dataclasses import replace

import pytest

from enliven.cli import run
from enliven.commands.models import description
from enliven.systems import MODELS


def test_every_model_is_listed_with_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models"]) == 0
    shown = capsys.readouterr().out
    assert all(f"{name}: {spec.summary}" in shown for name, spec in MODELS.items())


def test_missing_weights_are_said_to_be_missing() -> None:
    spec = replace(next(iter(MODELS.values())), name="not-trained-yet")
    assert "not here: set ENLIVEN_WEIGHTS" in description(spec)
