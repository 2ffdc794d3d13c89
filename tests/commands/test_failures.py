"""``enliven failures`` from shards to shards."""

import shutil
from pathlib import Path

import pytest

from enliven import systems
from enliven.cli import run
from enliven.data.manifest import read_manifest
from enliven.data.shards import ShardReader
from enliven.models.networks import save_networks
from enliven.train.failures import Attempt, FailureMaker
from tiny import tiny_soul, tiny_soul_networks

FLAGS = {"--model": "tiny-soul", "-o": "failed", "--negative-prompt": "still lips, blurred"}


def fail(**flags: str) -> int:
    """The exit code of the command, with some flags in place of the usual ones."""
    given = FLAGS | {"-o" if name == "o" else f"--{name.replace('_', '-')}": value for name, value in flags.items()}
    return run(["failures", "people", *(part for pair in given.items() for part in pair)])


def latents_by_source(folder: Path) -> dict[str, list[float]]:
    manifest, reader = read_manifest(folder), ShardReader(folder)
    rows = [manifest.row(index) for index in range(len(manifest))]
    return {row.source: reader.read(row).latents.flatten().tolist() for row in rows}


@pytest.fixture(scope="module")
def drawn(tiny_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three drawn clips in shards."""
    folder = tmp_path_factory.mktemp("drawn")
    with pytest.MonkeyPatch.context() as change:
        change.setenv("ENLIVEN_WEIGHTS", str(tiny_weights))
        change.setitem(systems.MODELS, "tiny-soul", tiny_soul())
        assert run(["encode", "--model", "tiny-soul", "--frames", "17", "--toon", "3", "-o", str(folder)]) == 0
    return folder


@pytest.fixture
def people(here: Path, drawn: Path) -> Path:
    return Path(shutil.copytree(drawn, here / "people"))


def test_a_model_makes_failures_of_the_clips_of_people(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(people.iterdir())
    assert fail() == 0
    shown = capsys.readouterr()
    assert "failed: 3 failures more, 3 in all" in shown.out
    assert "making failures: 3/3" in shown.err
    manifest = read_manifest(Path("failed"))
    assert set(manifest.column("caption")) <= {"still lips, blurred", "still lips", "blurred"}
    assert set(manifest.column("source")) == {f"toon {seed} 0 failure 0" for seed in range(3)}
    assert sorted(people.iterdir()) == before


def test_a_stopped_command_goes_on_to_the_same_failures(
    people: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail(o="at once") == 0
    made, count = FailureMaker.fail, 0

    def stop(maker: FailureMaker, clip: object, attempt: Attempt) -> object:
        nonlocal count
        if (count := count + 1) == 2:
            raise KeyboardInterrupt
        return made(maker, clip, attempt)  # type: ignore[arg-type]

    with monkeypatch.context() as change:
        change.setattr(FailureMaker, "fail", stop)
        assert fail() == 130
    assert "goes on where it was" in capsys.readouterr().err
    assert len(read_manifest(Path("failed"))) == 1
    assert fail() == 0
    shown = capsys.readouterr().out
    assert "2 failures more, 3 in all" in shown
    assert "1 of 3 were done already" in shown
    assert latents_by_source(Path("failed")) == latents_by_source(Path("at once"))


def test_a_bad_clip_is_told_and_left_out(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = read_manifest(people).row(1)
    with (people / row.shard).open("r+b") as file:
        file.seek(row.offset + row.size // 2)
        file.write(bytes(99))
    assert fail() == 0
    shown = capsys.readouterr().out
    assert "2 failures more, 2 in all" in shown
    assert "1 were left out" in shown
    assert "toon 1 0 failure 0" in shown


def test_parts_share_the_work(people: Path) -> None:
    for part, there in (("0/2", 1), ("1/2", 2)):
        assert fail(count="2", part=part) == 0
        assert len(latents_by_source(Path("failed"))) == there


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"o": "people"}, "name another folder"),
        ({"negative_prompt": ""}, "no words say what fails"),
        ({"weakest": "7"}, "guidance from 7 to 6"),
        ({"model": "tiny"}, "tiny does not learn from failures"),
        ({"part": "2/2"}, "--part '2/2'"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_loaded(
    wrong: dict[str, str], told: str, people: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("enliven.commands.generate.load", lambda *_: pytest.fail("the model was loaded"))
    assert fail(**wrong) == 2
    assert told in capsys.readouterr().err


def test_clips_of_other_encoders_are_refused(people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_networks(tiny_soul_networks(seed=1), Path("other"))
    assert fail(weights="other") == 2
    assert "people holds clips of other encoders" in capsys.readouterr().err
    assert not Path("failed").exists()
