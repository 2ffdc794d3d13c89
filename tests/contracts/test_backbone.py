"""What every backbone promises, over all of them."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint

from enliven.models.backbone import Backbone, ClipCache
from enliven.models.longcat import LongCat, LongCatParams
from enliven.models.longcat_audio import AudioParams
from enliven.models.wan import Wan, WanParams
from enliven.models.wan_audio import WanAudioParams
from enliven.runtime.attention import SelfAttend
from enliven.runtime.kernel_plain import Grid
from enliven.types import AttentionRule, Conditioning, LatentLayout, Role, Text

SIZES: dict[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "hidden_size": 32,
    "depth": 2,
    "num_heads": 2,
    "caption_channels": 12,
    "adaln_tembed_dim": 16,
    "frequency_embedding_size": 16,
}
AUDIO = AudioParams(audio_block=2, audio_channel=6, intermediate_dim=16, output_dim=12, context_tokens=3)
WAN_SIZES: dict[str, Any] = {
    "in_channels": 4,
    "out_channels": 4,
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "num_layers": 2,
    "ffn_dim": 48,
    "text_dim": 12,
    "freq_dim": 16,
}
WAN_AUDIO = WanAudioParams(audio_window=5, audio_block=2, audio_channel=6, intermediate_dim=16, tokens=3)
BACKBONES = {
    "longcat": LongCatParams(**SIZES),
    "longcat-avatar": LongCatParams(**SIZES, audio=AUDIO),
    "longcat-avatar-prenorm": LongCatParams(
        **SIZES, text_tokens_zero_pad=False, audio=replace(AUDIO, audio_prenorm=True)
    ),
    "longcat-clean": LongCatParams(**SIZES, audio=AUDIO, predicts="clean"),
    "wan": WanParams(**WAN_SIZES),
    "wan-soul": WanParams(**WAN_SIZES, audio=WAN_AUDIO),
    "wan-soul-clean": WanParams(**WAN_SIZES, audio=WAN_AUDIO, predicts="clean"),
}

LAYOUT = LatentLayout(
    roles=(Role.REFERENCE, *[Role.CONTEXT] * 2, *[Role.NOISE] * 4),
    positions=(2.5, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0),
    attention=(
        AttentionRule(range(1), (range(1),)),
        AttentionRule(range(1, 3), (range(1, 3),)),
        AttentionRule(range(3, 5), (range(1, 7),)),
        AttentionRule(range(5, 7), (range(7),)),
    ),
)


@pytest.fixture(params=BACKBONES.values(), ids=BACKBONES.keys())
def network(request: pytest.FixtureRequest) -> Backbone:
    torch.manual_seed(0)
    network = (Wan if isinstance(request.param, WanParams) else LongCat)(request.param)
    for parameter in network.parameters():
        if parameter.ndim < 2 or not parameter.count_nonzero():
            nn.init.normal_(parameter, std=0.3)
    return network


def sound(network: Backbone, start: int = 0) -> Tensor:
    """The windows of the clip from latent frame ``start``: behind a reference, Soul counts no frame apart."""
    torch.manual_seed(2)
    windows = torch.randn(2, 1, 24, 5, 2, 6)
    # Both context frames hear the same, so that they may change places.
    windows[:, :, 4:8] = windows[:, :, :4]
    return windows if isinstance(network, Wan) and start == 0 else windows[:, :, 3:]


@pytest.fixture
def given(network: Backbone) -> dict[str, Any]:
    torch.manual_seed(1)
    sigma = torch.tensor([0.9, 0.4])[:, None].repeat(1, 7)
    sigma[:, :3] = 0
    text = Text(torch.randn(2, 5, 12), torch.arange(5) < torch.tensor([[5], [3]]))
    cond = Conditioning(text, text, sound(network))
    return {"latents": torch.randn(2, 4, 7, 4, 6), "sigma": sigma, "cond": cond, "layout": LAYOUT}


def changed(a: Tensor, b: Tensor) -> list[bool]:
    return ((a - b).abs().amax((0, 1, 3, 4)) > 1e-5).tolist()


@pytest.mark.parametrize("name", ["longcat", "wan"])
def test_who_predicts_clean_latents_moves_towards_them(name: str) -> None:
    """From any noise level, one step of the velocity to level 0 ends at the prediction; here, of a fresh network, 0."""
    params = BACKBONES[{"longcat": "longcat-clean", "wan": "wan-soul-clean"}[name]]
    network = (Wan if isinstance(params, WanParams) else LongCat)(params)
    sigma = torch.tensor([0.9, 0.4])[:, None].repeat(1, 7)
    sigma[:, :3] = 0
    latents, text = torch.randn(2, 4, 7, 4, 6), Text(torch.randn(2, 5, 12), torch.ones(2, 5, dtype=torch.bool))
    velocity = network(latents, sigma, Conditioning(text, text, sound(network)), LAYOUT)
    ends = latents - sigma[:, None, :, None, None] * velocity
    assert_close(ends[:, :, 3:], torch.zeros(2, 4, 4, 4, 6), atol=1e-6, rtol=0)
    assert not velocity[:, :, :3].any()


def test_keeps_the_protocol(network: Backbone) -> None:
    assert isinstance(network, Backbone)


def test_clean_frames_have_no_velocity(network: Backbone, given: dict[str, Any]) -> None:
    velocity = network(**given)
    assert velocity.dtype == torch.float32
    assert velocity[:, :, :3].count_nonzero() == 0
    assert velocity[:, :, 3:].abs().mean() > 0.01


def test_a_cached_clip_is_the_clip(network: Backbone, given: dict[str, Any]) -> None:
    cache = ClipCache()
    for level in (0.9, 0.5):
        sigma = given["sigma"].clone()
        sigma[:, 3:] = level
        latents = given["latents"].clone()
        latents[:, :, 3:] *= level
        step = given | {"sigma": sigma, "latents": latents}
        assert_close(network(**step, cache=cache), network(**step), atol=2e-5, rtol=0)


class Surveyor:
    """A kernel that keeps the grids it is told of."""

    def __init__(self) -> None:
        self.grids: list[tuple[Grid, Grid]] = []

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        return q

    def on_grid(self, q: Tensor, k: Tensor, v: Tensor, q_grid: Grid, k_grid: Grid) -> Tensor:
        self.grids.append((q_grid, k_grid))
        return q


def test_kernels_are_told_where_tokens_lie(network: Backbone, given: dict[str, Any]) -> None:
    """4 x 6 latent cells are 2 x 3 tokens; the rules let 2 frames see 2, 2 see 6, and 2 see all 7."""
    surveyor = Surveyor()
    for leaf in network.modules():
        if isinstance(leaf, SelfAttend):
            leaf.kernel = surveyor
    network(**given)
    assert surveyor.grids == [((2, 2, 3), (count, 2, 3)) for count in (2, 6, 7)] * len(network.blocks)


def test_one_cache_serves_every_guidance_pass(network: Backbone, given: dict[str, Any]) -> None:
    cache = ClipCache()
    network(**given, cache=cache)
    other = given | {"cond": given["cond"].without(text=True, audio=True)}
    assert_close(network(**other, cache=cache), network(**other), atol=2e-5, rtol=0)


def test_a_layout_whose_clean_frames_see_noise_takes_no_cache(network: Backbone, given: dict[str, Any]) -> None:
    layout = replace(LAYOUT, attention=(AttentionRule(range(7), (range(7),)),))
    assert network(**given | {"layout": layout}).isfinite().all()
    with pytest.raises(ValueError, match="see noise"):
        network(**given | {"layout": layout}, cache=ClipCache())


def test_rules_mean_the_same_however_they_are_cut(network: Backbone, given: dict[str, Any]) -> None:
    attention = (
        *LAYOUT.attention[:2],
        AttentionRule(range(3, 4), (range(4, 7), range(1, 4))),
        AttentionRule(range(4, 5), (range(1, 4), range(4, 7))),
        AttentionRule(range(5, 7), (range(2, 7), range(2)), (0.0, 0.0)),
    )
    cut = given | {"layout": replace(LAYOUT, attention=attention)}
    assert_close(network(**cut), network(**given), atol=2e-5, rtol=0)


def test_context_frames_may_change_places_if_they_keep_their_times(network: Backbone, given: dict[str, Any]) -> None:
    order = [0, 2, 1, 3, 4, 5, 6]
    layout = replace(LAYOUT, positions=tuple(LAYOUT.positions[i] for i in order))
    moved = given | {"latents": given["latents"][:, :, order], "layout": layout}
    assert_close(network(**moved), network(**given), atol=2e-5, rtol=0)


def test_time_is_only_relative(network: Backbone, given: dict[str, Any]) -> None:
    later = replace(LAYOUT, positions=tuple(place + 7 for place in LAYOUT.positions))
    farther = replace(LAYOUT, positions=(30.0, *LAYOUT.positions[1:]))
    assert_close(network(**given | {"layout": later}), network(**given), atol=2e-4, rtol=0)
    assert any(changed(network(**given | {"layout": farther}), network(**given)))


def test_samples_of_a_batch_do_not_meet(network: Backbone, given: dict[str, Any]) -> None:
    text, cond = given["cond"].text, given["cond"]
    alone = Text(text.tokens[1:], text.mask[1:])
    single = given | {
        "latents": given["latents"][1:],
        "sigma": given["sigma"][1:],
        "cond": Conditioning(alone, alone, cond.audio[1:]),
    }
    assert_close(network(**single), network(**given)[1:], atol=2e-5, rtol=0)


def test_velocity_listens_to_everything_it_is_told(network: Backbone, given: dict[str, Any]) -> None:
    before, cond = network(**given), given["cond"]
    louder = replace(cond, text=Text(cond.text.tokens + 1, cond.text.mask))
    assert changed(before, network(**given | {"cond": louder})) == [False] * 3 + [True] * 4
    assert changed(before, network(**given | {"sigma": given["sigma"] * 0.5})) == [False] * 3 + [True] * 4
    heard = changed(before, network(**given | {"cond": cond.without(audio=True)}))
    assert any(heard) == (network.params.audio is not None)


def test_gradient_reaches_every_parameter(network: Backbone, given: dict[str, Any]) -> None:
    start = LatentLayout((Role.NOISE,) * 6, LAYOUT.positions[1:], (AttentionRule(range(6), (range(6),)),))
    cond = replace(given["cond"], audio=sound(network, start=1))
    first = {"latents": given["latents"][:, :, 1:], "sigma": given["sigma"][:, 1:] + 0.1, "cond": cond, "layout": start}
    (network(**given).square().mean() + network(**first).square().mean()).backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.count_nonzero()]
    assert silent == []


def test_bfloat16_stays_near_float32(network: Backbone, given: dict[str, Any]) -> None:
    exact = network(**given)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = network(**given)
    assert rounded.dtype == torch.float32
    assert (rounded - exact).square().mean() < 1e-3 * exact.square().mean()
    assert (network.bfloat16()(**given) - exact).square().mean() < 1e-3 * exact.square().mean()


def test_blocks_can_be_recomputed_from_outside(network: Backbone, given: dict[str, Any]) -> None:
    def gradients() -> list[Tensor]:
        return list(torch.autograd.grad(network(**given).square().mean(), network.parameters()))

    plain, passes = gradients(), []
    for block in network.blocks:
        block.forward = partial(checkpoint, counted(block.forward, passes), use_reentrant=False)
    assert_close(gradients(), plain, atol=1e-6, rtol=1e-4)
    assert len(passes) == 2 * len(network.blocks)


def counted(forward: Callable[..., Tensor], passes: list[int]) -> Callable[..., Tensor]:
    def run(*inputs: Any) -> Tensor:
        passes.append(1)
        return forward(*inputs)

    return run
