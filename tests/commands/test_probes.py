"""What is found out about a machine, and that an odd one stops nothing."""

from importlib import metadata
from pathlib import Path

import pytest

from enliven.commands import probes
from enliven.commands.probes import attempt, is_known
from enliven.errors import MissingExtra
from enliven.runtime import attention
from enliven.runtime.kernel_plain import sdpa


def test_a_failing_probe_says_why() -> None:
    def fail() -> None:
        raise MissingExtra("it needs flash-attn")

    found = attempt(fail)
    assert found == {"unknown": "MissingExtra: it needs flash-attn"}
    assert not is_known(found)
    assert is_known(attempt(dict))


def test_versions_and_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert probes.software()["torch"] == metadata.version("torch")
    monkeypatch.setattr(probes, "SHOWN", ("no-such-thing",))
    assert probes.software()["no-such-thing"] is None


def test_requirements_and_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    assert probes.requirements()[0] == []
    lines = ["torch<3,>=2.9", "no-such-thing>=1", "rich", 'absent>=2; extra == "plot"', "einops; extra == 'full'"]
    monkeypatch.setattr(probes.metadata, "requires", lambda name: lines)
    monkeypatch.setattr(probes.metadata, "metadata", lambda name: metadata.PackageMetadata)
    monkeypatch.setattr(metadata.PackageMetadata, "get_all", lambda name: ["plot", "full"], raising=False)
    assert probes.requirements() == (["no-such-thing"], {"plot": ["absent"], "full": []})


def test_disks_are_those_that_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENLIVEN_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("ENLIVEN_CACHE", str(tmp_path / "not" / "there" / "yet"))
    monkeypatch.chdir(tmp_path)
    found = probes.disks()
    assert [found[name]["folder"] for name in ("weights", "cache", "output")] == [
        str(tmp_path / "weights"),
        str(tmp_path / "not" / "there" / "yet"),
        str(tmp_path),
    ]
    assert all(disk["free"] > 0 and disk["writable"] for disk in found.values())


def test_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert probes.video() == {"H.264": True, "AAC": True}
    monkeypatch.setattr(probes, "CODECS", {"H.999": "no_such_codec"})
    assert not is_known(probes.video()["H.999"])


def test_a_kernel_of_attention_loads_or_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise MissingExtra("attention flash needs a package", hint="install it")

    def odd() -> None:
        raise OSError("a driver of another age")

    loaders = {"auto": lambda: sdpa, "flash": missing, "strange": odd}
    monkeypatch.setattr(attention, "_LOADERS", loaders)
    found = probes.attention()
    assert found == {
        "auto": True,
        "flash": "needs a package",
        "strange": {"unknown": "OSError: a driver of another age"},
    }
