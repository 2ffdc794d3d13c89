"""Folders that lie over others: what is their own, what is shared, and what is said when it is not there."""

import shutil
from pathlib import Path

import pytest

from enliven.errors import WeightsError
from enliven.models.layered import LABEL, Label, read_label, saved_parts, write_label
from enliven.models.networks import fingerprint, load_networks, save_network, save_networks
from tiny import tiny_networks, tiny_soul_networks


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    save_networks(tiny_soul_networks(), tmp_path / "teacher")
    return tmp_path / "teacher"


@pytest.fixture
def student(teacher: Path) -> Path:
    folder = teacher.with_name("student")
    write_label(folder, "soul-toon-4step", teacher)
    save_network(tiny_soul_networks(1).backbone, folder / "backbone")
    return folder


def test_own_networks_stand_before_those_below(teacher: Path, student: Path) -> None:
    parts = saved_parts(student)
    assert parts["backbone"] == student / "backbone"
    assert {name: path.resolve() for name, path in parts.items() if name != "backbone"} == {
        name: teacher / name for name in ("autoencoder", "autoencoder-efficient", "audio", "text", "codebook")
    }


def test_a_student_is_its_own_backbone_and_the_rest_of_its_teacher(teacher: Path, student: Path) -> None:
    made, below = load_networks(student), load_networks(teacher)
    assert made.codebook is not None
    assert set(made.decoders) == {"efficient"}
    save_networks(below, teacher.with_name("whole"))
    save_network(made.backbone, teacher.with_name("whole") / "backbone")
    assert fingerprint(made) == fingerprint(load_networks(teacher.with_name("whole"))) != fingerprint(below)


def test_folders_may_be_moved_together(student: Path, tmp_path: Path) -> None:
    assert read_label(student) == Label("soul-toon-4step", "../teacher")
    shutil.copytree(tmp_path, tmp_path.with_name("moved") / "here")
    assert len(saved_parts(tmp_path.with_name("moved") / "here" / "student")) == 6


@pytest.mark.parametrize("over", ["../nobody", "."])
def test_lying_over_nothing_is_said(student: Path, over: str) -> None:
    (student / LABEL).write_text(f'{{"model": "soul-toon-4step", "over": "{over}"}}')
    with pytest.raises(WeightsError, match="which is not there"):
        load_networks(student)


@pytest.mark.parametrize("text", ["", "[]", '{"model": 3, "over": "x"}', '{"model": "a"}'])
def test_a_damaged_label_is_said(student: Path, text: str) -> None:
    (student / LABEL).write_text(text)
    with pytest.raises(WeightsError, match=f"cannot read {student / LABEL}"):
        load_networks(student)


def test_a_folder_without_a_label_lies_over_nothing(tmp_path: Path) -> None:
    save_networks(tiny_networks(), tmp_path)
    assert read_label(tmp_path) is None
    assert all(path.parent == tmp_path for path in saved_parts(tmp_path).values())
