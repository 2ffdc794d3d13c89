"""Of each judge the newest note that measures it is found, and what it says of the other is left out."""

from pathlib import Path

from enliven.bench.judge_notes import find_notes

BOTH = """# Judges

Command: `teach them
both`, commit 0123abc. Much
was done.
Nothing else.

| measure | drawn |
| --- | --- |
| yaw correlation | 0.9 |
| clean face accuracy | 0.8 |
"""
ONE = """# The judge of clean drawing

- commit: 456def7

| faces | judged clean |
| --- | --- |
| drawn | 0.988 |
"""


def test_each_judge_has_its_newest_note(tmp_path: Path) -> None:
    for day, text in (("01", BOTH.replace("0.9", "0.1")), ("02", BOTH), ("03", ONE)):
        (tmp_path / f"2026-01-{day}-judges.md").write_text(text)
    face, quality = find_notes(tmp_path)
    assert (face.judge, face.date, face.commit) == ("toon-face", "2026-01-02", "0123abc")
    assert face.teaching == "`teach them both`, commit 0123abc. Much was done."
    assert list(face.tables()) == [["| measure | drawn |", "| --- | --- |", "| yaw correlation | 0.9 |"]]
    assert (quality.judge, quality.date, quality.commit) == ("toon-quality", "2026-01-03", "456def7")
    assert quality.teaching == ""
    assert list(quality.tables()) == [["| faces | judged clean |", "| --- | --- |", "| drawn | 0.988 |"]]


def test_a_judge_that_was_never_measured_has_no_note(tmp_path: Path) -> None:
    (tmp_path / "2026-01-01-judges.md").write_text(ONE)
    assert [note.judge for note in find_notes(tmp_path)] == ["toon-quality"]
    (tmp_path / "2026-01-01-judges.md").write_text("nothing")
    assert not find_notes(tmp_path)
