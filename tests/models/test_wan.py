"""The network against that of diffusers on random weights, and what Soul adds to it."""

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from diffusers import WanTransformer3DModel
from torch import Tensor
from torch.testing import assert_close

from enliven.errors import ConfigError, RequestError
from enliven.models.backbone import ClipCache
from enliven.models.wan import Wan, WanParams
from enliven.models.wan_audio import WanAudioParams
from enliven.types import AttentionRule, Conditioning, LatentLayout, Role, Text

TOKENS, TEXT_CHANNELS = 7, 12
AUDIO = WanAudioParams(audio_window=4, audio_block=2, audio_channel=6, intermediate_dim=16, tokens=3)


def small(**changed: Any) -> WanParams:
    sizes = {"in_channels": 4, "out_channels": 4, "num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 2}
    return WanParams(**sizes | {"ffn_dim": 48, "text_dim": TEXT_CHANNELS, "freq_dim": 16} | changed)


@dataclass(frozen=True)
class Call:
    """A network and what it is given; ``given`` frames have timestep 0 and are noise frames for all that."""

    params: WanParams
    size: tuple[int, int, int]
    given: int = 0
    lengths: tuple[int, ...] = (TOKENS,)


CALLS = {
    "one timestep": Call(small(), (3, 4, 6)),
    "one timestep, padded text": Call(small(), (2, 6, 4), lengths=(3, 7)),
    "first frame given": Call(small(), (4, 4, 6), given=1),
    "three frames given, padded text": Call(small(), (5, 2, 8), given=3, lengths=(1, 5, 7)),
    "a single picture": Call(small(num_layers=3), (1, 8, 8)),
    "many frames": Call(small(), (28, 2, 2), given=3),
    "published head": Call(small(num_attention_heads=3, attention_head_dim=128, num_layers=1), (3, 4, 4), given=1),
    "one narrow head": Call(small(num_attention_heads=1, attention_head_dim=8), (3, 6, 6), given=1),
    "other channels": Call(small(in_channels=9, out_channels=9, freq_dim=32), (3, 4, 6), given=1, lengths=(2,)),
    "other patches": Call(small(patch_size=(1, 1, 3)), (3, 3, 6), given=2, lengths=(4,)),
    "another epsilon": Call(small(eps=1e-2), (3, 4, 4), given=1),
}


def spoiled(network: torch.nn.Module) -> None:
    """Weights with which every part has a say."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            matrix = parameter.ndim > 1 and "table" not in name
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5 if matrix else 0.3)
            if "norm" in name and name.endswith("weight"):
                parameter.add_(1)


def published(params: WanParams) -> WanTransformer3DModel:
    names = WanParams.__dataclass_fields__.keys() - {"audio", "predicts"}
    network = WanTransformer3DModel(**{name: getattr(params, name) for name in names})
    spoiled(network)
    return network.eval()


def ours(params: WanParams, reference: WanTransformer3DModel) -> Wan:
    network = Wan(params)
    loaded = network.load_state_dict(reference.state_dict(), strict=False)
    assert not loaded.unexpected_keys
    assert bool(loaded.missing_keys) == (params.audio is not None)
    return network


def noise_layout(frames: int) -> LatentLayout:
    everything = AttentionRule(range(frames), (range(frames),))
    return LatentLayout((Role.NOISE,) * frames, tuple(map(float, range(frames))), (everything,))


def request(call: Call) -> dict[str, Any]:
    batch, (frames, height, width) = len(call.lengths), call.size
    levels = torch.linspace(0.95, 0.2, batch, dtype=torch.float64)[:, None].repeat(1, frames)
    levels[:, : call.given] = 0
    mask = torch.arange(TOKENS) < torch.tensor(call.lengths)[:, None]
    text = Text(torch.randn(batch, TOKENS, TEXT_CHANNELS), None if bool(mask.all()) else mask)
    return {
        "latents": torch.randn(batch, call.params.in_channels, frames, height, width),
        "sigma": levels,
        "cond": Conditioning(text, text, torch.randn(batch, 1, 4 * frames - 3, 4, 2, 6)),
        "layout": noise_layout(frames),
    }


def said(reference: WanTransformer3DModel, call: Call, given: dict[str, Any]) -> Tensor:
    """What diffusers answers, told one timestep where all are the same and one for each token otherwise."""
    text = given["cond"].text
    tokens = text.tokens if text.mask is None else text.tokens * text.mask[..., None]
    timestep = 1000 * given["sigma"]
    cells = math.prod(call.size[1:]) // math.prod(call.params.patch_size)
    timestep = timestep.repeat_interleave(cells, 1) if call.given else timestep[:, 0]
    dtype = reference.patch_embedding.weight.dtype
    return reference(given["latents"].to(dtype), timestep, tokens.to(dtype), return_dict=False)[0]


@pytest.mark.parametrize("audio", [None, AUDIO], ids=["deaf", "closed gates"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@torch.inference_mode()
def test_agrees_with_diffusers(call: Call, audio: WanAudioParams | None) -> None:
    torch.manual_seed(0)
    reference, given = published(call.params), request(call)
    theirs = said(reference, call, given)
    assert theirs.std() > 0.3
    assert_close(ours(replace(call.params, audio=audio), reference)(**given), theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["one timestep, padded text", "first frame given", "published head"])
@torch.inference_mode()
def test_bfloat16_rounds_no_worse_than_diffusers(name: str) -> None:
    torch.manual_seed(0)
    call = CALLS[name]
    reference, given = published(call.params), request(call)
    exact = said(reference, call, given)
    reference.bfloat16()
    rounded = ours(call.params, reference).bfloat16()(**given)
    assert rounded.dtype == torch.float32
    theirs = (said(reference, call, given).float() - exact).square().mean()
    assert (rounded - exact).square().mean() < 1.1 * theirs < 1e-2


@torch.inference_mode()
def test_roles_silence_clean_frames_and_nothing_else() -> None:
    """Frames that are given and frames of timestep 0 are the same to all others."""
    call = Call(small(), (5, 4, 4), given=2)
    given = request(call)
    network = Wan(call.params)
    spoiled(network)
    everywhere = network(**given)
    roles = (Role.REFERENCE, Role.CONTEXT, *[Role.NOISE] * 3)
    velocity = network(**given | {"layout": replace(given["layout"], roles=roles)})
    assert velocity[:, :, :2].count_nonzero() == 0
    assert_close(velocity[:, :, 2:], everywhere[:, :, 2:])


@pytest.mark.parametrize(("audio", "count"), [(None, 4_999_787_712), (WanAudioParams(), 6_166_299_870)])
def test_full_size_has_the_published_number_of_parameters(audio: WanAudioParams | None, count: int) -> None:
    """Audio adds, in 30 blocks, an attention layer, its norm and a gate, and one projection."""
    width, inner = 3072, 1024
    layer = 4 * (width**2 + width) + 2 * width + 2 * width + 1
    projection = (10 * 5 * 384 + 1) * inner + (inner + 1) * inner + (inner + 1) * 4 * width + 2 * width
    with torch.device("meta"):
        network = Wan(WanParams(audio=audio))
    assert sum(parameter.numel() for parameter in network.parameters()) == count
    assert count - 4_999_787_712 == (30 * layer + projection if audio else 0)


def soul(audio: WanAudioParams = AUDIO) -> Wan:
    torch.manual_seed(0)
    return Wan(small(audio=audio))


def heard(frames: int = 5, sound: int | None = None, reference: bool = True, people: int = 1) -> dict[str, Any]:
    """A clip of ``frames`` latent frames, the first of which is a reference or one of them."""
    call = Call(small(), (frames, 4, 4), given=int(reference), lengths=(4, 7))
    given = request(call)
    sound = 4 * (frames - 1) + (not reference) if sound is None else sound
    roles = (Role.REFERENCE if reference else Role.NOISE, *[Role.NOISE] * (frames - 1))
    cond = replace(given["cond"], audio=torch.randn(2, people, sound, 4, 2, 6))
    return given | {"cond": cond, "layout": replace(given["layout"], roles=roles)}


def test_training_starts_from_zero_velocity_and_softly() -> None:
    network, given = soul(), heard()
    assert network(**given).count_nonzero() == 0
    reached = []
    network.proj_out.register_forward_pre_hook(lambda module, inputs: reached.append(inputs[0]))
    embedded = network.patch_embedding(given["latents"])[:, 1:]
    network(**given)
    plain = torch.nn.functional.layer_norm(embedded, embedded.shape[-1:], eps=1e-6)
    assert torch.nn.functional.cosine_similarity(reached[0], plain, dim=-1).min() > 0.9


def test_three_steps_wake_every_parameter() -> None:
    """The output, then what leads to it, then what stands behind closed gates."""
    network, given = soul(), heard()
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.0)
    target = torch.randn_like(given["latents"])
    for step in range(3):
        optimizer.zero_grad()
        (network(**given) - target)[:, :, 1:].square().mean().backward()
        if step == 2:
            assert all(block.audio_gate.grad.abs() > 0 for block in network.blocks)
        optimizer.step()
    asleep = [name for name, parameter in network.named_parameters() if torch.equal(parameter, before[name])]
    assert asleep == []


def test_one_step_opens_the_gates_of_a_trained_network_and_another_reaches_the_projection() -> None:
    network, given = soul(), heard()
    spoiled(network)
    with torch.no_grad():
        for block in network.blocks:
            block.audio_gate.zero_()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    projection = network.audio_proj.proj1.weight.detach().clone()
    moved = []
    for _ in range(2):
        optimizer.zero_grad()
        network(**given).square().mean().backward()
        optimizer.step()
        moved.append(not torch.equal(network.audio_proj.proj1.weight, projection))
    assert all(block.audio_gate != 0 for block in network.blocks)
    assert moved == [False, True]


@torch.inference_mode()
def test_audio_layers_start_as_text_layers_behind_the_given_gate() -> None:
    network = soul(replace(AUDIO, gate_init=0.25))
    for block in network.blocks:
        assert block.audio_gate.tolist() == [0.25]
        assert torch.equal(block.attn_audio.to_k.weight, block.attn2.to_k.weight)
    spoiled(network)
    assert not torch.equal(network.blocks[1].attn_audio.to_k.weight, network.blocks[1].attn2.to_k.weight)
    network.copy_audio_from_text()
    for block in network.blocks:
        for audio, text in ((block.attn_audio, block.attn2), (block.norm_audio, block.norm2)):
            assert_close(audio.state_dict(), text.state_dict(), atol=0, rtol=0)
            assert all(a is not b for a, b in zip(audio.parameters(), text.parameters(), strict=True))


@pytest.mark.parametrize("reference", [True, False])
@torch.inference_mode()
def test_each_video_frame_is_heard_by_its_latent_frame_and_null_audio_by_the_first(reference: bool) -> None:
    """One block whose frames do not see each other, so that what changes is what heard."""
    torch.manual_seed(0)
    network = Wan(small(num_layers=1, audio=AUDIO))
    spoiled(network)
    given = heard(reference=reference)
    alone = tuple(AttentionRule(range(i, i + 1), (range(i, i + 1),)) for i in range(5))
    given["layout"] = replace(given["layout"], attention=alone)
    before, sound = network(**given), given["cond"].audio
    for frame in range(sound.shape[2]):
        other = sound.clone()
        other[:, :, frame] += 1
        after = network(**given | {"cond": replace(given["cond"], audio=other)})
        changed = ((after - before).abs().amax((0, 1, 3, 4)) > 1e-5).tolist()
        owner = 1 + frame // 4 if reference else (frame + 3) // 4
        assert changed == [i == owner != 0 for i in range(5)]


@torch.inference_mode()
def test_context_hears_and_hands_it_on() -> None:
    network, given = soul(), heard()
    spoiled(network)
    given["layout"] = replace(given["layout"], roles=(Role.REFERENCE, *[Role.CONTEXT] * 2, *[Role.NOISE] * 2))
    other = given["cond"].audio.clone()
    other[:, :, :8] += 1
    after = network(**given | {"cond": replace(given["cond"], audio=other)})
    changed = (after - network(**given)).abs().amax((0, 1, 3, 4)) > 1e-5
    assert changed.tolist() == [False] * 3 + [True] * 2


@pytest.mark.parametrize(("reference", "sound", "expected"), [(True, 17, 16), (True, 20, 16), (False, 16, 17)])
def test_audio_of_the_wrong_length_is_refused(reference: bool, sound: int, expected: int) -> None:
    with pytest.raises(RequestError, match=f"audio for {sound} video frames, .* need {expected}"):
        soul()(**heard(sound=sound, reference=reference))


def test_two_voices_are_refused() -> None:
    with pytest.raises(RequestError, match="2 people"):
        soul()(**heard(people=2))


def test_cells_that_fill_no_patch_are_refused() -> None:
    with pytest.raises(RequestError, match="5 x 4 latent cells"):
        soul()(**heard() | {"latents": torch.zeros(2, 4, 5, 5, 4)})


def test_no_cache_where_every_frame_sees_noise() -> None:
    with pytest.raises(ValueError, match="see noise"):
        soul()(**heard(), cache=ClipCache())


def test_sizes_come_from_the_config_of_diffusers() -> None:
    params = small(patch_size=(1, 1, 2))
    assert WanParams.from_config(dict(published(params).config)) == params
    assert WanParams.from_config({"_class_name": "WanTransformer3DModel"}) == WanParams()


@pytest.mark.parametrize("other", [{"image_dim": 1280}, {"qk_norm": None}, {"cross_attn_norm": False}])
def test_wans_of_another_kind_are_refused(other: dict[str, Any]) -> None:
    (name,) = other
    with pytest.raises(ConfigError, match=name):
        WanParams.from_config(other)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="attention_head_dim 20"):
        WanParams(attention_head_dim=20)
    with pytest.raises(ConfigError, match="spans several latent frames"):
        WanParams(patch_size=(2, 2, 2))
