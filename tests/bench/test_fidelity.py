"""Tests of fidelity against the formulas and against windows made by scipy."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from enliven.bench.fidelity import psnr, seams, seen_distance, ssim
from enliven.judges.quality import QualityJudge

EYES = QualityJudge().network.trunk


def pictures(seed: int, level: float = 0.0) -> Tensor:
    coarse = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(coarse, (48, 48), mode="bilinear") * 200 + 20
    noise = torch.randn(smooth.shape, generator=torch.Generator().manual_seed(seed))
    return (smooth + level * noise).round().clamp(0, 255).to(torch.uint8)


def test_decibels_are_those_of_the_formula_frame_by_frame() -> None:
    meant = torch.full((2, 3, 8, 8), 100, dtype=torch.uint8)
    shown = meant.clone()
    shown[0] += 5
    shown[1] -= 20
    expected = [20 * math.log10(255 / step) for step in (5, 20)]
    assert psnr(shown, meant) == pytest.approx(sum(expected) / 2, abs=1e-4)
    assert psnr(meant, meant) == math.inf


def by_scipy(one: np.ndarray, other: np.ndarray) -> float:
    def mean(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, 1.5, truncate=3.4)[5:-5, 5:-5]

    m1, m2 = mean(one), mean(other)
    v1, v2, both = mean(one**2) - m1**2, mean(other**2) - m2**2, mean(one * other) - m1 * m2
    c1, c2 = 1e-4, 9e-4
    return float(((2 * m1 * m2 + c1) * (2 * both + c2) / ((m1**2 + m2**2 + c1) * (v1 + v2 + c2))).mean())


def test_structural_similarity_is_that_of_windows_made_by_scipy() -> None:
    shown, meant = pictures(1, level=12), pictures(2)
    grey = [
        (frames.double() / 255 * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1) for frames in (shown, meant)
    ]
    expected = [by_scipy(one.numpy(), other.numpy()) for one, other in zip(*grey, strict=True)]
    assert ssim(shown, meant) == pytest.approx(sum(expected) / 2, abs=1e-6)
    assert 0.2 < ssim(shown, meant) < 0.9
    assert ssim(meant, meant) == pytest.approx(1)


def test_a_ramp_has_no_seams_and_steps_at_edges_of_patches_are_seams() -> None:
    row = torch.arange(16) * 2
    ramp = (row + row[:, None]).to(torch.uint8).expand(2, 3, 16, 16)
    assert seams(ramp, 4) == 1
    seamed = ramp + (torch.arange(16) // 4 * 6).to(torch.uint8)  # three of the six edges are 8 high instead of 2
    assert seams(seamed, 4) == pytest.approx((8 + 2) / 2 / 2)
    assert seams(seamed.transpose(2, 3), 4) == pytest.approx(2.5)
    assert seams(seamed[..., 2:], 4) < 1  # the same steps elsewhere


def test_what_looks_the_same_has_no_distance() -> None:
    meant = pictures(2)
    near, far = (seen_distance(EYES, pictures(1, level), meant) for level in (4, 20))
    assert seen_distance(EYES, meant, meant) == 0
    assert 0 < near < far
