"""The command line as a user meets it: what it says, where, and its exit code."""

import pytest

from enliven import cli
from enliven.errors import Cancelled, ConfigError, MissingExtra


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(command in shown for command in ("generate", "resume", "demo", "models", "toon"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["genrate"], "generate"),
        (["generate", "--porrait", "a.png"], "--portrait"),
        (["generate", "--steps", "many"], "many"),
        (["toon", "portait"], "portrait"),
    ],
)
def test_a_typing_error_is_one_sentence_with_a_guess(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(arguments) == 2
    shown = capsys.readouterr()
    assert told in shown.err
    assert shown.err.count("error:") == 1
    assert "Traceback" not in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["genrate"], "enliven --help lists the commands"),
        (["toon", "portait"], "enliven toon --help lists the commands"),
        (["generate", "--porrait", "a.png"], "enliven generate --help lists the options"),
        (["toon", "portrait", "--sed", "1"], "enliven toon portrait --help lists the options"),
    ],
)
def test_a_typing_error_says_which_help_helps(
    arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(arguments) == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("steps: 0", hint="give at least 1"), 2),
        (MissingExtra("no matplotlib", hint="pip install 'enliven[plot]'"), 1),
        (Cancelled("stopped", hint="resume with: enliven resume runs/a"), 130),
        (KeyboardInterrupt(), 130),
    ],
)
def test_the_exit_code_says_whose_fault_it_was(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    assert cli.run([]) == code
    assert getattr(error, "hint", "") in capsys.readouterr().err


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(ZeroDivisionError):
        cli.run([])
