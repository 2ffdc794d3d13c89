"""``enliven doctor`` as a user meets it, with tiny models; on odd machines too."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from enliven import systems
from enliven.cli import run
from enliven.commands import probes
from enliven.commands.doctor import size
from enliven.runtime import machine, memory
from tiny import tiny_spec


@pytest.fixture
def models(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two models of the same sizes; the weights of one are here."""
    specs = (tiny_spec(), replace(tiny_spec(), name="tiny-absent"))
    monkeypatch.setattr(systems, "MODELS", {spec.name: spec for spec in specs})
    return here


def examined(capsys: pytest.CaptureFixture[str], *options: str, code: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    assert run(["doctor", "--json", *options]) == code
    return json.loads(capsys.readouterr().out)


def test_everything_is_told(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = examined(capsys)
    assert report["problems"] == []
    assert report["machine"]["memory"] > 2**28
    tiny, absent = report["models"]
    assert Path(tiny["weights"]).name == "tiny"
    assert absent["weights"] is None
    total = sum(tiny["parameters"].values())
    assert tiny["weights_bytes"]["float32"] == 4 * total
    assert tiny["weights_bytes"]["bfloat16"] == 2 * total + 2 * sum(
        tiny["parameters"][name] for name in ("autoencoder", "audio")
    )
    saved = tiny["weights_bytes"]["bfloat16"] - tiny["weights_bytes"]["int8"]
    assert 0.8 * tiny["parameters"]["backbone"] < saved < tiny["parameters"]["backbone"]
    assert tiny["weights_bytes"]["fp8"] == tiny["weights_bytes"]["int8"]
    assert tiny["plan"]["fits"]
    assert tiny["minute_seconds"] > 0
    assert absent["minute_seconds"] == {"unknown": "its weights are not here"}
    assert absent["parameters"] == tiny["parameters"]


def test_it_is_a_table_to_a_person(
    models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    def attention() -> dict[str, bool | str]:
        return {"auto": True, "flash2": "needs a GPU, and there is none"}

    monkeypatch.setattr(probes, "attention", attention)
    assert run(["doctor", "--quick"]) == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    (first,) = (index for index, line in enumerate(lines) if line.startswith("Attention"))
    assert re.fullmatch(r"Attention +auto +loads *", lines[first])
    assert re.fullmatch(r" +flash2 +no: needs a GPU, and there is none *", lines[first + 1])
    assert lines[0].split()[:2] == ["Software", "python"]
    (header,) = [line for line in lines if line.startswith("Model ")]
    assert header.split() == ["Model", "Here", "float32", "bfloat16", "8", "bits", "working", "Runs"]
    assert [line.split()[1] for line in lines if line.startswith(("tiny ", "tiny-absent "))] == ["yes", "no"]
    assert "tiny: how long a minute of video takes is unknown: not tried" in lines
    assert shown.err == ""


def test_a_small_machine_is_told_what_does_not_fit(
    models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "this_machine", lambda: memory.Machine(100_000))
    assert run(["doctor"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "tiny does not fit: it takes" in shown
    assert "and there are 83 KiB" in shown
    assert "unknown: it does not fit" in shown


def odd(*arguments: object) -> None:
    raise RuntimeError("odd")


def odd_probe(name: str) -> Callable[[], None]:
    probe = partial(odd)
    probe.__name__ = name
    return probe


def test_an_odd_machine_does_not_stop_it(
    models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("software", "machine", "gpus", "disks", "requirements"):
        monkeypatch.setattr(probes, name, odd_probe(name))
    monkeypatch.setattr("enliven.systems.footprint.model_needs", odd)
    report = examined(capsys)
    assert report["gpus"] == report["machine"] == {"unknown": "RuntimeError: odd"}
    assert run(["doctor", "--quick"]) == 0
    shown = capsys.readouterr().out
    assert "unknown: RuntimeError: odd" in shown
    assert "tiny: what it needs is unknown: RuntimeError: odd" in shown


def test_without_torch_it_still_speaks() -> None:
    code = "import sys; sys.modules['torch'] = None; from enliven.cli import run; sys.exit(run(['doctor']))"
    place = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=place)
    assert finished.returncode == 2
    assert "H.264" in finished.stdout
    assert "models: unknown (ModuleNotFoundError" in finished.stdout
    assert "error: torch cannot be used: ModuleNotFoundError" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_what_is_essential_and_missing_ends_with_what_to_do(
    models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "CODECS", {"H.264": "no_such_codec", "AAC": "aac"})
    monkeypatch.setattr(probes, "requirements", lambda: (["soxr"], {}))
    report = examined(capsys, "--quick", code=2)
    assert [problem["what"].split(":")[0] for problem in report["problems"]] == [
        "soxr is not installed",
        "PyAV cannot write H.264",
    ]
    assert run(["doctor", "--quick"]) == 2
    shown = capsys.readouterr()
    assert "error: soxr is not installed, and 1 more" in shown.err
    assert "hint: pip install 'enliven'" in shown.err
    assert "problem: PyAV cannot write H.264" in " ".join(shown.out.split())


def test_sizes_as_a_person_says_them() -> None:
    assert [size(count) for count in (0, 2000, 36 * 2**20, 81.1 * 2**30, 120 * 2**30, 3 * 2**40)] == [
        "0 B",
        "2 KiB",
        "36 MiB",
        "81.1 GiB",
        "120 GiB",
        "3.0 TiB",
    ]
