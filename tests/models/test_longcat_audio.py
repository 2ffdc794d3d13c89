"""Audio windows and tokens against tensors of the published network."""

import pytest
import torch
from torch.testing import assert_close

from enliven.errors import RequestError
from enliven.models.int8 import Int8Linear, to_int8
from enliven.models.longcat_audio import AudioParams, AudioProj, group_windows
from golden_files import golden


def test_windows_are_grouped_as_published() -> None:
    case = golden("audio_grouping").case("g")
    first, later = group_windows(case.inputs["audio_embs"], stride=4)
    assert torch.equal(first, case.outputs["first"])
    assert torch.equal(later, case.outputs["latter"])


def test_a_group_holds_each_video_frame_once_and_its_neighbours() -> None:
    frames = torch.arange(9.0)
    windows = (frames[:, None] + torch.arange(-2.0, 3))[None, :, :, None, None]
    first, later = group_windows(windows, stride=4)
    assert first.flatten().tolist() == [-2, -1, 0, 1, 2]
    assert later[0, 0].flatten().tolist() == [-1, 0, 1, 2, 3, 4, 5, 6]
    assert later[0, 1].flatten().tolist() == [3, 4, 5, 6, 7, 8, 9, 10]


@pytest.mark.parametrize("name", ["b1", "b2"])
def test_projection_agrees_with_the_published_one(name: str) -> None:
    record = golden("audio_proj")
    sizes = record.config
    params = AudioParams(
        audio_window=sizes["seq_len"],
        audio_block=sizes["blocks"],
        audio_channel=sizes["channels"],
        intermediate_dim=sizes["intermediate_dim"],
        output_dim=sizes["output_dim"],
        context_tokens=sizes["context_tokens"],
        vae_scale=sizes["seq_len_vf"] - sizes["seq_len"] + 1,
    )
    network, case = AudioProj(params), record.case(name)
    network.load_state_dict(record.state_dict)
    tokens = network.project(case.inputs["first"], case.inputs["latter"])
    assert_close(tokens, case.outputs["out"], atol=5e-5, rtol=0)


def test_video_frames_that_fill_no_latent_frame_are_refused() -> None:
    network = AudioProj(AudioParams(audio_block=1, audio_channel=2, intermediate_dim=4, output_dim=4, context_tokens=1))
    with pytest.raises(RequestError, match="16 video frames"):
        network(torch.zeros(1, 16, 5, 1, 2))


def test_a_config_without_audio_sizes_gives_the_first_version() -> None:
    assert AudioParams.from_config({"depth": 48}) == AudioParams(audio_block=12, audio_channel=768)


def test_weights_of_8_bits_are_not_multiplied_out_to_learn_their_type(monkeypatch: pytest.MonkeyPatch) -> None:
    params = AudioParams(audio_block=1, audio_channel=2, intermediate_dim=4, output_dim=4, context_tokens=1)
    network = to_int8(AudioProj(params).bfloat16())
    monkeypatch.setattr(Int8Linear, "weight", property(lambda _: pytest.fail("all weights were multiplied out")))
    assert network(torch.ones(1, 5, 5, 1, 2)).dtype == torch.bfloat16
