"""The parts of a block against tensors of the published network, and what each may and may not see."""

import pytest
import torch
from torch.testing import assert_close

from enliven.models.layers import rope_table
from enliven.models.longcat_audio import AudioParams
from enliven.models.longcat_block import AudioAttention, Block, Given, TextAttention
from enliven.models.speakers import Labels, band_two, label_map
from enliven.types import AttentionRule, Text
from golden_files import golden


@pytest.mark.parametrize("name", ["single_t2v", "single_cond1"])
def test_audio_attention_agrees_with_the_published_one(name: str) -> None:
    record = golden("audio_cross_attn")
    sizes, case = record.config, record.case(name)
    network = AudioAttention(sizes["dim"], sizes["num_heads"], sizes["encoder_hidden_states_dim"])
    network.load_state_dict(record.state_dict)
    (frames, rows, columns), clean = case.args["shape"], case.args["num_cond_latents"]
    x = case.inputs["x"].unflatten(1, (frames, rows * columns))
    audio = case.inputs["cond"].unflatten(0, (-1, frames))
    heard = network(x[:, clean:], audio[:, clean:])
    assert_close(heard.flatten(1, 2), case.outputs["noise"], atol=5e-5, rtol=0)


@pytest.mark.parametrize(("name", "voices"), [("multi_2h_3c", 2), ("multi_3h_3c", 3), ("multi_3h_4c", 3)])
def test_audio_attention_of_several_voices_agrees_with_the_published_one(name: str, voices: int) -> None:
    record = golden("audio_cross_attn")
    sizes, case = record.config, record.case(name)
    network = AudioAttention(sizes["dim"], sizes["num_heads"], sizes["encoder_hidden_states_dim"])
    network.load_state_dict(record.state_dict)
    (frames, rows, columns), clean = case.args["shape"], case.args["num_cond_latents"]
    x = case.inputs["x"].unflatten(1, (frames, rows * columns))
    audio = case.inputs["cond"].unflatten(0, (-1, frames))[:, clean:]
    seen = case.inputs["x_ref_attn_map"][None].unflatten(2, (frames - clean, rows * columns))
    bands = band_two(voices, seen.shape[1])
    tokens = label_map(seen, torch.tensor(bands.regions))
    labels = Labels(tokens, torch.tensor(bands.voices).repeat_interleave(audio.shape[2] // voices))
    heard = network(x[:, clean:], audio, labels)
    assert_close(heard.flatten(1, 2), case.outputs["noise"], atol=5e-5, rtol=0)


def test_a_frame_hears_only_its_own_time() -> None:
    network, x, audio = AudioAttention(16, 2, 8), torch.randn(1, 4, 3, 16), torch.randn(1, 4, 5, 8)
    before = network(x, audio)
    audio[:, 2] += 1
    changed = (network(x, audio) - before).abs().amax((0, 2, 3)) > 1e-6
    assert changed.tolist() == [False, False, True, False]


def test_masked_text_is_not_read() -> None:
    network, x, tokens = TextAttention(16, 2, 8), torch.randn(2, 3, 4, 16), torch.randn(2, 6, 8)
    mask = torch.arange(6) < torch.tensor([[2], [6]])
    before = network(x, Text(tokens, mask))
    tokens[:, 4] += 1
    after = network(x, Text(tokens, mask))
    assert_close(after[0], before[0])
    assert (after[1] - before[1]).abs().max() > 1e-3


def test_text_and_audio_leave_clean_frames_alone() -> None:
    block = Block(16, 2, 32, 8, AudioParams(output_dim=12))
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.2)

    def run(text: float, audio: float) -> torch.Tensor:
        given = Given(
            time=torch.ones(1, 4, 8),
            rope=rope_table([0.0, 1.0, 2.0, 3.0], 2, 3, 8),
            rules=(AttentionRule(range(2), (range(2),)), AttentionRule(range(2, 4), (range(4),))),
            clean=2,
            text=Text(torch.full((1, 5, 16), text)),
            audio=torch.linspace(0, audio, 12).expand(1, 2, 3, 12),
        )
        return block(torch.linspace(0, 1, 4 * 6 * 16).view(1, 4, 6, 16), given)

    plain = run(0.0, 0.0)
    for other in (run(1.0, 0.0), run(0.0, 1.0)):
        assert torch.equal(other[:, :2], plain[:, :2])
        assert (other[:, 2:] - plain[:, 2:]).abs().max() > 1e-3
