"""Tests of the choice of channels: all of them are the teacher, hidden ones are found, twins are passed over."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from enliven.errors import RequestError
from enliven.models.vae import ToonAutoencoder, ToonAutoencoderParams
from enliven.models.wan_autoencoder import WAN_2_2, WanAutoencoder, WanAutoencoderParams
from enliven.train import narrowing
from enliven.train.narrowing import begin_narrow, independent

Autoencoder = ToonAutoencoder | WanAutoencoder
TOON = ToonAutoencoderParams(5, 12, 4, blocks=(2, 1, 2), spatial_factor=16, middle_widths=(6,))
TOON_NARROW = replace(TOON, inner_width=6, middle_widths=(4,), outer_width=2)
PLAIN = {name: value for name, value in WAN_2_2.config.items() if not name.startswith("latents_")}
WAN = WanAutoencoderParams({**PLAIN, "z_dim": 5, "base_dim": 4, "decoder_base_dim": 6, "num_res_blocks": 1})
WAN_NARROW = WanAutoencoderParams({**WAN.config, "decoder_base_dim": 3})


def build(params: ToonAutoencoderParams | WanAutoencoderParams, seed: int) -> Autoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = ToonAutoencoder(params) if isinstance(params, ToonAutoencoderParams) else WanAutoencoder(params)
        for value in network.parameters():
            nn.init.normal_(value, std=0.3) if value.ndim > 1 else nn.init.uniform_(value, 0.5, 1)
    return network.eval().requires_grad_(False).double()


def latents(count: int = 3, seed: int = 2) -> Tensor:
    return torch.randn(2, 5, count, 3, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("params", [TOON, WAN], ids=["toon", "wan"])
def test_a_student_of_full_width_is_its_teacher(params: ToonAutoencoderParams | WanAutoencoderParams) -> None:
    teacher, student = build(params, 0), build(params, 1)
    begin_narrow(student, teacher, latents())
    other = latents(seed=3)
    assert torch.equal(student.paint(other, {}), teacher.paint(other, {}))
    video = torch.rand(1, 3, 5, 16, 16) * 2 - 1
    assert torch.equal(student.encode(video.to(other)), teacher.encode(video.to(other)))


@pytest.mark.parametrize(("wide", "narrow"), [(TOON, TOON_NARROW), (WAN, WAN_NARROW)], ids=["toon", "wan"])
def test_a_narrow_decoder_hidden_in_a_wide_one_is_found(
    wide: ToonAutoencoderParams | WanAutoencoderParams, narrow: ToonAutoencoderParams | WanAutoencoderParams
) -> None:
    """The teacher's other channels are zero everywhere, and stand between those that are not.

    It is made by the very maps of the choice, read backwards, so the test is of the measuring, the grouping of
    channels across shortcuts, and the scales of norms and attention; that the maps fit the network, the test before
    says.
    """
    teacher, student, hidden = build(wide, 0), build(narrow, 1), build(narrow, 2)
    hide(hidden, teacher)
    begin_narrow(student, teacher, latents())
    other = latents(seed=3)
    torch.testing.assert_close(student.paint(other, {}), teacher.paint(other, {}), atol=1e-5, rtol=1e-5)
    assert teacher.paint(other, {}).std() > 0.05


def hide(hidden: Autoencoder, teacher: Autoencoder) -> None:
    """Zero what makes channels of the teacher: in each place those that a choice by another measure leaves out."""
    kept: list[tuple[nn.Module, Tensor | slice, int]] = []
    original = narrowing._copy

    def note(
        mine: nn.Module,
        its: nn.Module,
        measured: narrowing.Measured,
        before: Tensor | slice,
        after: Tensor | slice,
    ) -> None:
        original(mine, its, measured, before, after)
        kept.append((its, after, len(its.bias)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(narrowing, "_copy", note)
        begin_narrow(hidden, teacher, latents())
    for convolution, after, width in kept:
        gone = torch.ones(width, dtype=torch.bool)
        gone[after] = False
        convolution.weight[gone] = 0
        convolution.bias[gone] = 0


def test_channels_that_repeat_others_are_passed_over() -> None:
    torch.manual_seed(0)
    one, other, faint = torch.randn(3, 500)
    rows = torch.stack([3 * one, 2.9 * one, 0.5 * other, 2.8 * one + 0.1 * other, 0.2 * faint])
    assert independent(rows.cov(), 1).tolist() == [0]
    assert independent(rows.cov(), 3).tolist() == [0, 2, 4]
    assert independent(torch.zeros(3, 3), 3).tolist() == [0, 1, 2]


def test_channels_that_are_gone_are_guessed_from_those_that_are_left() -> None:
    """The third channel is a sum of two others: without it the convolution gives what it gave with it."""
    torch.manual_seed(0)
    wide, narrow = nn.Conv2d(4, 3, 3), nn.Conv2d(3, 2, 3)
    pictures = torch.randn(8, 4, 9, 9)
    pictures[:, 2] = 2 * pictures[:, 0] - pictures[:, 3] + 5
    measured = narrowing.Measured()
    measured.listen(wide, (pictures,))
    before, after = torch.tensor([0, 1, 3]), torch.tensor([0, 2])
    with torch.no_grad():
        narrowing._copy(narrow, wide, measured, before, after)
    torch.testing.assert_close(narrow(pictures[:, before]), wide(pictures)[:, after], atol=0.02, rtol=0)


def test_decoders_of_other_depth_are_refused() -> None:
    with pytest.raises(RequestError, match="more than the widths"):
        begin_narrow(build(replace(TOON, blocks=(1, 1, 1)), 0), build(TOON, 1), latents())
