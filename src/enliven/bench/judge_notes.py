"""The notes on judges in ``benchmarks``: how each judge was taught, and how well it judges."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from enliven.judges.face import FaceJudge
from enliven.judges.quality import QualityJudge

# What a row that is about a judge has in itself or in the header of its table.
ABOUT: Mapping[str, re.Pattern[str]] = {
    FaceJudge.name: re.compile(r"correlation|identity|similarity"),
    QualityJudge.name: re.compile(r"judged (clean|scrambled)"),
}
TEACHING = re.compile(r"^(?:Training|Command): (.+?\.)$", re.MULTILINE | re.DOTALL)
COMMIT = re.compile(r"\bcommit:? ([0-9a-f]{7,})\b")


@dataclass(frozen=True, slots=True)
class JudgeNote:
    """A note, by the name of a judge that it measures."""

    judge: str
    path: Path
    text: str

    @property
    def date(self) -> str:
        """When it was measured."""
        return self.path.name.removesuffix("-judges.md")

    @property
    def commit(self) -> str:
        """The commit that was measured; empty where the note does not say."""
        found = COMMIT.search(self.text)
        return found[1] if found else ""

    @property
    def teaching(self) -> str:
        """How the judge was taught, in a line; empty where the note does not say."""
        found = TEACHING.search(self.text)
        return " ".join(found[1].split()) if found else ""

    def tables(self) -> Iterator[list[str]]:
        """The lines of each table, with those rows alone that are about the judge."""
        for block in self.text.split("\n\n"):
            header, *rows = [line for line in block.splitlines() if line.startswith("|")] or [""]
            told = [row for row in rows[1:] if ABOUT[self.judge].search(f"{header} {row}")]
            if told:
                yield [header, rows[0], *told]


def find_notes(benchmarks: Path) -> list[JudgeNote]:
    """For each judge the newest note that measures it; none for one that was never measured."""
    paths = sorted(benchmarks.glob("????-??-??-judges.md"), reverse=True)
    every = [[JudgeNote(judge, path, path.read_text(encoding="utf-8")) for path in paths] for judge in ABOUT]
    newest = (next((note for note in notes if any(note.tables())), None) for notes in every)
    return [note for note in newest if note is not None]
