"""The gate: what fits passes unchanged, what does not is refused by its path."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enliven import config
from enliven.errors import ConfigError


@dataclass(frozen=True)
class Scales:
    text: float = 1.0
    audio: float = 1.0


@dataclass(frozen=True)
class Order:
    audio: tuple[Path, ...]
    prompt: str = ""
    steps: int | None = None
    mood: Literal["calm", "lively"] = "calm"
    guidance: Scales | None = field(default_factory=Scales)


def test_a_full_file_becomes_the_dataclass(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('audio = ["a.wav", "b.wav"]\nsteps = 8\nmood = "lively"\n[guidance]\naudio = 5.0\n')
    order = config.parse(Order, config.read(file))
    assert order == Order((Path("a.wav"), Path("b.wav")), steps=8, mood="lively", guidance=Scales(1.0, 5.0))


@pytest.mark.parametrize(
    ("values", "path", "told"),
    [
        ({"audio": [], "promt": "hi"}, "promt", "did you mean 'prompt'"),
        ({"audio": [], "guidance": {"audo": 1.0}}, "guidance.audo", "did you mean 'audio'"),
        ({"audio": [], "steps": "8"}, "steps", "'8'"),
        ({"audio": [], "steps": 8.5}, "steps", "8.5"),
        ({"audio": [], "mood": "glad"}, "mood", "'calm' or 'lively'"),
        ({"prompt": "hi"}, "audio", "required"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_path(values: dict[str, object], path: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(Order, values)
    assert path in str(caught.value)
    assert told in str(caught.value)


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_numbers_without_a_size_are_refused(number: str) -> None:
    with pytest.raises(ConfigError, match=r"guidance\.audio is not a finite number"):
        config.parse(Order, config.override({"audio": []}, [f"guidance.audio={number}"]))


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"promt.*steps|steps.*promt"):
        config.parse(Order, {"audio": [], "promt": "hi", "steps": "many"})


def test_settings_override_the_file_and_leave_it_untouched() -> None:
    values = {"audio": ["a.wav"], "guidance": {"text": 2.0}}
    merged = config.override(values, ["guidance.audio=5.0", "prompt=a calm voice", "steps=4", "steps=6"])
    assert config.parse(Order, merged) == Order((Path("a.wav"),), "a calm voice", 6, guidance=Scales(2.0, 5.0))
    assert values == {"audio": ["a.wav"], "guidance": {"text": 2.0}}


@pytest.mark.parametrize("setting", ["steps", "=4", "a..b=1", "prompt.inner=1"])
def test_a_setting_without_a_place_is_refused(setting: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        config.override({"prompt": "hi"}, [setting])


@given(st.text(min_size=1).map(str.strip).filter(lambda text: not any(mark in text for mark in "\"'#[]{}")))
def test_any_plain_words_survive_as_a_setting(text: str) -> None:
    value = config.override({}, [f"prompt={text}"])["prompt"]
    assert value == text or not isinstance(value, str)


def test_a_file_that_is_not_toml_names_its_line(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("steps = 8\nprompt: hi\n")
    with pytest.raises(ConfigError, match="line 2"):
        config.read(file)
    with pytest.raises(ConfigError, match=r"missing\.toml"):
        config.read(tmp_path / "missing.toml")
