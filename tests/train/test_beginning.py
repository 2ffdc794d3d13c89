"""What training begins from, what of it learns, and where it goes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from enliven.errors import ConfigError, WeightsError
from enliven.models.networks import save_networks
from enliven.models.wan import Wan
from enliven.models.wan_weights import to_original
from enliven.models.weights import save_weights
from enliven.systems import DEFAULT_MODEL
from enliven.train.beginning import Beginning, choose_trainable, find_beginning, save_beside
from published_folders import miniature, write_avatar_1_5, write_base
from tiny import SOUL_PARAMS, tiny_soul_networks


@pytest.fixture
def beginning(tmp_path: Path) -> Beginning:
    save_networks(tiny_soul_networks(), tmp_path / "weights", torch.bfloat16)
    return find_beginning("soul-toon", tmp_path / "weights")


class Renamed(nn.Module):
    """The weights of a network under the names of Wan's authors."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.held = to_original(network.state_dict())

    def state_dict(self, *args: object, **named: object) -> dict[str, torch.Tensor]:  # type: ignore[override]
        return self.held


@pytest.mark.parametrize("original", [False, True])
def test_audio_layers_of_soul_begin_as_the_text_layers_of_wan(
    beginning: Beginning, tmp_path: Path, original: bool
) -> None:
    wan = Wan(replace(SOUL_PARAMS.backbone, audio=None))
    save_weights(Renamed(wan) if original else wan, tmp_path / "wan", torch.float32)
    network: Wan = beginning.backbone(torch.float32, tmp_path / "wan")
    got, want = network.state_dict(), wan.state_dict()
    assert all(torch.equal(got[name], value) for name, value in want.items())
    assert torch.equal(got["blocks.1.attn_audio.to_q.weight"], want["blocks.1.attn2.to_q.weight"])


def test_weights_of_something_else_are_no_beginning(beginning: Beginning, tmp_path: Path) -> None:
    save_weights(nn.Linear(3, 4), tmp_path / "linear")
    with pytest.raises(WeightsError):
        beginning.backbone(torch.float32, tmp_path / "linear")


def test_what_is_chosen_learns(beginning: Beginning) -> None:
    network = beginning.backbone(torch.float32)
    count = choose_trainable(network, r"blocks\.0\.ffn")
    learning = {name: value for name, value in network.named_parameters() if value.requires_grad}
    assert {name.split(".net")[0] for name in learning} == {"blocks.0.ffn"}
    assert count == sum(value.numel() for value in learning.values())
    with pytest.raises(ConfigError, match="no regular expression"):
        choose_trainable(network, "(")


def test_a_model_made_quick_by_a_lora_does_not_learn(tmp_path: Path) -> None:
    made = miniature()
    write_base(tmp_path / "LongCat-Video", made)
    folder = write_avatar_1_5(tmp_path / "LongCat-Video-Avatar-1.5", made)
    for name in ("longcat-1.5", "longcat-1.5-int8"):
        with pytest.raises(ConfigError, match=name):
            find_beginning(name, folder)
    found = find_beginning("longcat-1.5-undistilled", folder)
    assert found.stored_type is torch.bfloat16
    save_beside(found, made.avatar_1_5.state_dict(), tmp_path / "learnt")
    there = {path.name for path in (tmp_path / "learnt").iterdir()}
    assert there >= {"base_model", "scheduler", "whisper-large-v3", "lora", "vae", "text_encoder", "tokenizer"}
    assert "base_model_int8" not in there  # that of other weights
    assert find_beginning("longcat-1.5-undistilled", tmp_path / "learnt").parts["text"].folder.is_dir()


def test_a_student_does_not_learn_the_flow_that_it_was_taught_to_shorten() -> None:
    with pytest.raises(ConfigError, match=f"{DEFAULT_MODEL} is made quick") as caught:
        find_beginning(None, None)
    assert caught.value.hint == "name the model it was made of, as model = 'longcat-toon'"


def test_the_beginning_is_never_written_over(beginning: Beginning) -> None:
    with pytest.raises(ConfigError, match="began from"):
        save_beside(beginning, {}, beginning.folder)
