"""What a caller may choose, the same wherever it is said."""

from dataclasses import asdict
from pathlib import Path

import pytest

from enliven import config
from enliven.runtime.choices import Choices, split_strength

KEPT = {
    **{"dtype": "auto", "quantise": "auto", "memory": "auto", "attention": "auto"},
    **{"weights": None, "base": None, "loras": (), "expressiveness": None},
}


def test_runs_that_were_kept_can_still_be_read() -> None:
    """These names and values are in run.json of earlier runs."""
    assert asdict(Choices()) == KEPT
    assert config.parse(Choices, KEPT) == Choices()
    assert config.parse(Choices, KEPT | {"memory": 2.5, "quantise": "int8"}) == Choices(memory=2.5, quantise="int8")


def test_only_what_says_something_is_given() -> None:
    assert Choices().given == {}
    assert Choices(memory="low", attention="auto").given == {"memory": "low"}


def test_choices_hold_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    choices = Choices(weights=Path("mine"), loras=("a.safetensors:0.5", "b.safetensors")).absolute()
    assert choices.given == {
        "weights": tmp_path / "mine",
        "loras": (f"{tmp_path / 'a.safetensors'}:0.5", f"{tmp_path / 'b.safetensors'}:1"),
    }


@pytest.mark.parametrize("strength", [0.1 + 0.2, 1 / 3, -1234567.25, 1e-9, 0.123456789, 1.0])
def test_a_strength_is_the_same_number_from_any_folder(strength: float) -> None:
    (lora,) = Choices(loras=(f"a.safetensors:{strength!r}",)).absolute().loras
    assert split_strength(lora) == (Path("a.safetensors").resolve(), strength)
    assert Choices(loras=(lora,)).absolute().loras == (lora,)


def test_a_path_may_have_a_strength() -> None:
    assert split_strength("a/b.safetensors") == (Path("a/b.safetensors"), 1.0)
    assert split_strength("a/b.safetensors:-0.5") == (Path("a/b.safetensors"), -0.5)
    assert split_strength("a:b.safetensors") == (Path("a:b.safetensors"), 1.0)
