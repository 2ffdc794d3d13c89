"""The parts of a block against those of diffusers, and the order they run in."""

import torch
from diffusers.models.transformers.transformer_wan import WanTransformerBlock
from torch import Tensor
from torch.testing import assert_close

from enliven.models.layers import rope_table
from enliven.models.wan_audio import WanAudioParams
from enliven.models.wan_block import AudioAttention, Block, Given
from enliven.types import AttentionRule

WIDTH, HEADS, INNER, EPS = 16, 2, 24, 1e-6


def spoiled(network: torch.nn.Module) -> None:
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.4)


def given(frames: int = 3, rows: int = 2, columns: int = 2, audio: bool = True) -> Given:
    return Given(
        time=torch.randn(2, frames, 6, WIDTH),
        rope=rope_table([float(i) for i in range(frames)], rows, columns, WIDTH // HEADS),
        rules=(AttentionRule(range(frames), (range(frames),)),),
        text=torch.randn(2, 5, WIDTH),
        audio=torch.randn(2, frames, 7, WIDTH) if audio else None,
    )


@torch.inference_mode()
def test_what_is_said_of_a_frame_is_said_of_each_of_its_tokens() -> None:
    torch.manual_seed(0)
    block, reference = (
        Block(WIDTH, HEADS, INNER, EPS, None),
        WanTransformerBlock(WIDTH, INNER, HEADS, cross_attn_norm=True),
    )
    spoiled(reference)
    block.load_state_dict(reference.state_dict())
    told, x = given(audio=False), torch.randn(2, 3, 4, WIDTH)
    angles = torch.view_as_real(told.rope).flatten(0, 1).repeat_interleave(2, 1)[None, :, None]
    each = told.time.repeat_interleave(4, 1)
    theirs = reference(x.flatten(1, 2), told.text, each, (angles[..., 0], angles[..., 1]))
    assert_close(block(x, told).flatten(1, 2), theirs, atol=2e-5, rtol=0)


def test_a_frame_hears_only_its_own_time() -> None:
    network, x, audio = AudioAttention(WIDTH, HEADS, EPS), torch.randn(1, 4, 3, WIDTH), torch.randn(1, 4, 5, WIDTH)
    before = network(x, audio)
    audio[:, 2] += 1
    changed = (network(x, audio) - before).abs().amax((0, 2, 3)) > 1e-6
    assert changed.tolist() == [False, False, True, False]


@torch.inference_mode()
def test_audio_comes_after_text_and_before_the_feed_forward_layer() -> None:
    """Each part of the block, called by hand in the order of Soul's Fig. 2."""
    torch.manual_seed(0)
    block = Block(WIDTH, HEADS, INNER, EPS, WanAudioParams())
    spoiled(block)
    told, x = given(), torch.randn(2, 3, 4, WIDTH)
    b1, s1, g1, b2, s2, g2 = (block.scale_shift_table + told.time)[:, :, None].unbind(3)

    def norm(y: Tensor) -> Tensor:
        return torch.nn.functional.layer_norm(y, (WIDTH,), eps=EPS)

    expected = x + g1 * block.attn1(norm(x) * (1 + s1) + b1, told.rope, told.rules)
    expected = expected + block.attn2(block.norm2(expected), told.text)
    expected = expected + block.audio_gate * block.attn_audio(block.norm_audio(expected), told.audio)
    expected = expected + g2 * block.ffn(norm(expected) * (1 + s2) + b2)
    assert_close(block(x, told), expected, atol=2e-5, rtol=0)


def test_matrices_can_be_trained_as_matrices() -> None:
    """The trainer's optimiser for matrices takes what has two axes: every projection, and no table or gate."""
    block = Block(WIDTH, HEADS, INNER, EPS, WanAudioParams())
    others = [name for name, parameter in block.named_parameters() if parameter.ndim != 2 and "norm" not in name]
    assert [name for name in others if not name.endswith("bias")] == ["scale_shift_table", "audio_gate"]
