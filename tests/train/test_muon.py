"""Muon is that of torch, matrix for matrix."""

import pytest
import torch
from torch import nn

from enliven.train import muon
from enliven.train.muon import Muon, orthogonal

SHAPES = [(6, 6), (9, 4), (4, 9), (6, 6), (6, 6), (9, 4)]


@pytest.mark.parametrize("together", [1, 100, 2**24])
def test_steps_are_those_of_torch(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muon, "MOST_NUMBERS", together)
    monkeypatch.setattr(muon, "quick_bfloat16", lambda device: True)  # as torch always does
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    theirs = [nn.Parameter(value.detach().clone()) for value in ours]
    one = Muon(ours, lr=0.02, weight_decay=0.1)
    other = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    for step in range(4):
        for mine, same in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine) if step != 2 or mine is not ours[0] else None
            same.grad = None if mine.grad is None else mine.grad.clone()
        one.step()
        other.step()
    for mine, same in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, same, atol=1e-4, rtol=0)  # bfloat16 within


def test_singular_values_are_drawn_to_one() -> None:
    torch.manual_seed(0)
    for shape in ((3, 8, 20), (3, 20, 8)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape)).float())
        assert ((values > 0.6) & (values < 1.3)).all()


def test_float32_finds_what_bfloat16_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    matrices = torch.randn(3, 8, 20)
    found = []
    for quick in (True, False):
        monkeypatch.setattr(muon, "quick_bfloat16", lambda device, quick=quick: quick)
        found.append(orthogonal(matrices))
    assert [each.dtype for each in found] == [torch.bfloat16, torch.float32]
    torch.testing.assert_close(found[0].float(), found[1], atol=0.03, rtol=0)
