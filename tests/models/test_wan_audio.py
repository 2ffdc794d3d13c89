"""Which window belongs to which latent frame, and what becomes of it."""

import pytest
import torch

from enliven.errors import ConfigError, RequestError
from enliven.models.int8 import Int8Linear, to_int8
from enliven.models.wan_audio import AudioProj, WanAudioParams, heard_windows
from enliven.types import AttentionRule, LatentLayout, Role

SMALL = WanAudioParams(audio_window=3, audio_block=2, audio_channel=4, intermediate_dim=8, tokens=2)


def clip(references: int, frames: int) -> LatentLayout:
    roles = (Role.REFERENCE,) * references + (Role.NOISE,) * (frames - references)
    return LatentLayout(roles, tuple(map(float, range(frames))), (AttentionRule(range(frames), (range(frames),)),))


def numbered(frames: int, people: int = 1) -> torch.Tensor:
    return torch.arange(1.0, frames + 1)[None, None, :, None, None, None].expand(1, people, -1, 1, 1, 1)


@pytest.mark.parametrize(
    ("references", "expected"),
    [(1, [0] * 4 + list(range(1, 9))), (2, [0] * 8 + list(range(1, 5))), (0, [0] * 4 + list(range(2, 10)))],
)
def test_a_reference_or_else_the_first_frame_hears_null_audio(references: int, expected: list[int]) -> None:
    given = 4 * (3 - references) if references else 9
    assert heard_windows(numbered(given), clip(references, 3), stride=4).flatten().tolist() == expected


@pytest.mark.parametrize(("references", "given"), [(1, 7), (1, 9), (1, 12), (0, 8), (0, 12), (2, 8)])
def test_any_other_number_of_video_frames_is_refused(references: int, given: int) -> None:
    with pytest.raises(RequestError, match=f"audio for {given} video frames"):
        heard_windows(numbered(given), clip(references, 3), stride=4)


def test_one_voice_is_heard() -> None:
    with pytest.raises(RequestError, match="2 people"):
        heard_windows(numbered(8, people=2), clip(1, 3), stride=4)


def test_tokens_of_a_video_frame_come_from_its_window_alone() -> None:
    network, windows = AudioProj(SMALL, 6), torch.randn(1, 8, 3, 2, 4)
    before = network(windows)
    assert before.shape == (1, 2, 8, 6)
    windows[:, 5] += 1
    changed = (network(windows) - before).abs().amax((0, 3)) > 1e-6
    assert changed.tolist() == [[False] * 8, [False] * 2 + [True] * 2 + [False] * 4]


def test_null_audio_has_a_measured_gradient_from_the_start() -> None:
    """Of a zero vector the norm's slope is one over the root of its epsilon, 316."""
    torch.manual_seed(0)
    network = AudioProj(WanAudioParams(), 64)
    for parameter in network.parameters():
        if parameter.ndim == 1:
            torch.nn.init.zeros_(parameter)
    torch.nn.init.ones_(network.norm.weight)
    network.initialise()
    tokens = network(torch.zeros(1, 4, 10, 5, 384))
    assert tokens.std().item() == pytest.approx(1, abs=0.05)
    (gradient,) = torch.autograd.grad((tokens * torch.randn(64)).sum() / tokens.numel() ** 0.5, network.proj3.bias)
    assert gradient.norm() < 30


def test_sizes_of_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="tokens is 0"):
        WanAudioParams(tokens=0)


def test_weights_of_8_bits_are_not_multiplied_out_to_learn_their_type(monkeypatch: pytest.MonkeyPatch) -> None:
    network = to_int8(AudioProj(SMALL, 6).bfloat16())
    monkeypatch.setattr(Int8Linear, "weight", property(lambda _: pytest.fail("all weights were multiplied out")))
    assert network(torch.ones(1, 8, 3, 2, 4)).dtype == torch.bfloat16
