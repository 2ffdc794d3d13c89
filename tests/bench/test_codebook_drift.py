from dataclasses import replace

import pytest
import torch

from bench_cases import case
from enliven.bench.codebook_drift import measure_drift
from enliven.judges.face import FaceJudge

CLIPS = [range(10), range(10, 20), range(20, 25)]


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    still = case(1.0).drawn(slice(0, 1))
    return still.expand(25, -1, -1, -1).clone()


def test_what_stays_the_same_does_not_drift(frames: torch.Tensor) -> None:
    found = measure_drift(frames, CLIPS, FaceJudge(), [0.1, 0.2, 0.3])
    assert [*found.colour.tolist(), *found.contrast.tolist()] == pytest.approx([0] * 6, abs=1e-2)
    torch.testing.assert_close(found.sharpness, torch.ones(3))
    torch.testing.assert_close(found.identity, torch.ones(3))
    assert found.clipped.tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_colours_drift_by_as_many_levels_as_they_move(frames: torch.Tensor) -> None:
    dark = frames.float() / 2 + 50
    dark[20:, 1] += 12
    found = measure_drift(dark.round().to(torch.uint8), CLIPS, FaceJudge())
    assert found.colour.tolist() == pytest.approx([0, 0, 12], abs=1e-2)
    assert found.contrast.tolist() == pytest.approx([0, 0, 0], abs=1e-2)


def test_halved_contrast_is_half_as_sharp(frames: torch.Tensor) -> None:
    grey = frames.float()
    grey[10:20] = grey[10:20] / 2 + 64
    found = measure_drift(grey.round().to(torch.uint8), CLIPS, FaceJudge())
    assert found.sharpness[1].item() == pytest.approx(0.5, abs=0.01)
    expected = frames[:10].float().std(dim=(0, 2, 3)).norm().item() / 2
    assert found.contrast.tolist() == pytest.approx([0, expected, 0], rel=0.01, abs=1e-2)


def test_a_stranger_is_noticed(frames: torch.Tensor) -> None:
    mixed = frames.clone()
    mixed[20:] = replace(case(1.0), seed=9_000_077).drawn(slice(0, 1))
    found = measure_drift(mixed, CLIPS, FaceJudge())
    assert found.identity[1] > 0.999
    assert found.identity[2] < 0.6
