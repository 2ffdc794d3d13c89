"""What the documents say is true: links lead somewhere, trees match, commands parse."""

import ast
import re
import shlex
from pathlib import Path

import pytest

from enliven.cli import app

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "enliven"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def blocks(page: Path, *languages: str) -> list[str]:
    return [body for language, body in BLOCK.findall(page.read_text()) if language in languages]


def defines(module: str, name: str) -> bool:
    """Whether a module defines a name, or a class in it one behind a dot; nothing is imported."""
    path = SOURCE.parent.joinpath(*module.split("."))
    nodes = ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()).body
    for part in name.split("."):
        found = next((node for node in nodes if part in names(node)), None)
        if found is None:
            return False
        nodes = getattr(found, "body", [])
    return True


def names(node: ast.stmt) -> list[str]:
    """What a statement gives a name to."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_shown_are_commands_known(page: Path) -> None:
    lines = "\n".join(blocks(page, "sh", "console")).replace("\\\n", " ").splitlines()
    for line in lines:
        command = shlex.split(line.removeprefix("$ "), comments=True)
        if command[:1] == ["enliven"]:
            app.parse_args(command[1:], exit_on_error=False, print_error=False)


def test_the_tree_in_the_readme_is_the_tree() -> None:
    (tree,) = [block for block in blocks(ROOT / "README.md", "", "text") if block.startswith("src/enliven/")]
    told = set(re.findall(r"^  (\w+(?:\.py|/))", tree, re.MULTILINE))
    found = {path.name for path in SOURCE.glob("*.py") if path.name != "__init__.py"}
    found |= {f"{path.name}/" for path in SOURCE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert told == found


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = [int(page.name[:4]) for page in sorted((ROOT / "docs" / "adr").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


def test_functions_and_tests_named_in_the_documents_exist() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    functions, tests = (
        set(re.findall(r"`(enliven[\w.]+):([\w.]+)`", text)),
        set(re.findall(r"`(tests/\S+)::(\w+)`", text)),
    )
    assert len(functions) > 5
    assert len(tests) > 5
    for module, name in functions:
        assert defines(module, name), f"{module}:{name}"
    for file, name in tests:
        assert f"def {name}(" in (ROOT / file).read_text(), f"{file}::{name}"


def test_every_quirk_is_decided_and_every_decision_guarded() -> None:
    page = (ROOT / "docs" / "explanation" / "quirks.md").read_text()
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in re.findall(r"^\| \d+ \|.*$", page, re.MULTILINE)]
    assert [int(number) for number, *_ in rows] == list(range(1, len(rows) + 1))
    for number, _, decision, where, test in rows:
        assert re.match(r"(reproduce|correct|refuse|not here)\b", decision), f"quirk {number}: {decision}"
        if not decision.startswith("not here"):
            assert re.fullmatch(r"`enliven\.[\w.]+:[\w.]+`(, `enliven\.[\w.]+:[\w.]+`)*", where), (
                f"quirk {number}: {where}"
            )
            assert re.fullmatch(r"`tests/\S+::\w+`(, `tests/\S+::\w+`)*", test), f"quirk {number}: {test}"
