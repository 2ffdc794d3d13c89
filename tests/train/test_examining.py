from pathlib import Path

import pytest
import torch
from PIL import Image

from enliven.judges.face import IDENTITY, READINGS
from enliven.train.examining import (
    GREEN,
    RED,
    area,
    correlation,
    judge_shown,
    read_faces,
    through_video,
    verdict_sheet,
)
from enliven.train.gallery import draw_gallery
from toon_people import PEOPLE, drawn, talking


class Bright:
    """Calls bright frames clean."""

    name = "bright"

    def __call__(self, frames: torch.Tensor) -> dict[str, torch.Tensor]:
        clean = (frames.float().mean(dim=(1, 2, 3)) > 100).float()
        return {"clean_face": clean, "clean_frame": clean}


class Knowing:
    """Reads what it was told, and takes all for one person."""

    name = "knowing"

    def __init__(self, readings: torch.Tensor) -> None:
        self.readings = readings

    def __call__(self, frames: torch.Tensor) -> dict[str, torch.Tensor]:
        alike = torch.nn.functional.normalize(torch.ones(len(frames), IDENTITY), dim=1)
        return dict(zip(READINGS, self.readings.flatten(0, 1).T, strict=True)) | {"identity": alike}


def frames() -> torch.Tensor:
    return torch.tensor([200, 200, 10, 10, 200], dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 128, 128)


def test_only_the_decided_are_counted() -> None:
    harm = torch.tensor([[0.0, 0.0], [0.2, 0.2], [0.2, 0.2], [0.0, 0.0], [0.04, 0.2]])
    report = judge_shown(Bright(), ("some", frames(), harm))
    assert report["face clean"] == report["face scrambled"] == report["frame clean"] == 0.5
    assert report["frame scrambled"] == pytest.approx(1 / 3, abs=1e-3)
    assert report["face scrambled, frames"] == 2
    assert "face scrambled" not in judge_shown(Bright(), ("clean", frames(), torch.zeros(5, 2)))


def test_perfect_readings_are_found_perfect() -> None:
    gallery = draw_gallery(range(7_000_100, 7_000_104), poses=2)
    report = read_faces(Knowing(gallery.readings), gallery)
    assert all(report[f"{name} correlation"] == pytest.approx(1, abs=1e-3) for name in READINGS)
    assert report["identity area"] == 0
    assert report["same person similarity"] == pytest.approx(1, abs=1e-3)


def test_the_sheet_shows_the_verdict_in_its_border(tmp_path: Path) -> None:
    views = {"some": ("some", frames()[1:3], torch.zeros(2, 2))}
    verdict_sheet(Bright(), views, tmp_path / "sheet.png")
    colours = {colour for _, colour in Image.open(tmp_path / "sheet.png").getcolors(2**20)}
    assert {GREEN, RED} <= colours


def test_video_coding_keeps_frames_and_order() -> None:
    shown = drawn(PEOPLE[0], talking(0, 4))
    coded = through_video(shown)
    assert coded.shape == shown.shape
    assert not torch.equal(coded, shown)
    error = (coded[:, None].float() - shown[None].float()).abs().mean(dim=(2, 3, 4))
    assert error.diag().max() < 6


def test_the_area_counts_pairs_in_the_right_order() -> None:
    assert area(torch.tensor([2.0, 3.0]), torch.tensor([1.0, 2.5])) == 0.75
    assert correlation(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([4.0, 3.0, 2.0])) == pytest.approx(-1)
