"""The network against tensors of the published one, and what its initialisation promises."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from enliven.errors import ConfigError, RequestError
from enliven.models.backbone import ClipCache
from enliven.models.longcat import LongCat, LongCatParams
from enliven.models.longcat_audio import AudioParams
from enliven.models.speakers import Bands, band_two
from enliven.types import AttentionRule, Conditioning, LatentLayout, Role, Text
from golden_files import Case, golden, golden_folder

DIT_CASES = [
    ("base_dit", ["t2v", "t2v_nomask", "i2v", "vc_nocache"]),
    ("base_dit_packed", ["t2v"]),
    (
        "avatar_dit_single",
        [
            *("at2v", "at2v_uncond_audio", "ai2v", "avc_rsa_active", "avc_rsa_lastfit", "avc_rsa_past_end"),
            *("avc_rsa_before_start", "avc_ref30", "avc_refneg", "avc_nomask"),
        ],
    ),
    ("avatar_dit_multi", ["ai2v_2h", "ai2v_3h_3c", "ai2v_3h_4c", "ai2v_3h_5c", "ai2v_1h_masks", "avc_2h", "avc_3h"]),
    ("avatar_dit_alt", ["at2v", "ai2v_2h"]),
    ("avatar_dit_bf16", ["at2v", "ai2v"]),
]
CACHE_CASES = [
    ("base_dit", ["vc_kv"]),
    ("avatar_dit_single", ["avc_kv_rsa_active", "avc_kv_rsa_off"]),
    ("avatar_dit_multi", ["avc_kv_2h", "avc_kv_3h"]),
    ("avatar_dit_bf16", ["avc_kv"]),
]


def pairs(table: list[tuple[str, list[str]]]) -> list[tuple[str, str]]:
    return [(file, name) for file, names in table for name in names]


def load(file: str, name: str) -> tuple[LongCat, Case]:
    record = golden(file)
    kind = "Avatar" if "audio_window" in record.config else "Video"
    network = LongCat(LongCatParams.from_config(record.config | {"_class_name": kind}))
    case = record.case(name)
    network.banding = band_two
    network.load_state_dict(record.state_dict)
    return network.to(torch.bfloat16 if case.args.get("bf16") else torch.float32).eval(), case


def published_layout(clean: int, frames: int, args: dict[str, Any]) -> LatentLayout:
    """The published placement; its reference-skip window is silently off unless it lies inside the noise frames."""
    references = args.get("num_ref_latents", min(clean, 1))
    moved = "ref_img_index" in args
    positions = [float(args["ref_img_index"])] if moved else []
    positions += [float(i) for i in range(frames - len(positions))]
    rules = [AttentionRule(r, (r,)) for r in (range(references), range(references, clean)) if r]
    everything = AttentionRule(range(clean, frames), (range(frames),))
    rules += skip_window(args, clean, frames) or [everything]
    roles = [Role.REFERENCE] * references + [Role.CONTEXT] * (clean - references) + [Role.NOISE] * (frames - clean)
    return LatentLayout(tuple(roles), tuple(positions), tuple(rules))


def skip_window(args: dict[str, Any], clean: int, frames: int) -> list[AttentionRule]:
    radius, index = args.get("mask_frame_range", 0), args.get("ref_img_index", 0)
    start, stop = index - radius + 1, index + radius + 2
    if radius == 0 or start < clean or stop > frames:
        return []
    groups = [(range(clean, start), 0), (range(start, stop), 1), (range(stop, frames), 0)]
    return [AttentionRule(queries, (range(first, frames),)) for queries, first in groups if queries]


def base_layout(clean: int, frames: int) -> LatentLayout:
    """Continuation of the base network: context frames and no reference."""
    rules = [AttentionRule(r, (range(r.stop),)) for r in (range(clean), range(clean, frames)) if r]
    roles = (Role.CONTEXT,) * clean + (Role.NOISE,) * (frames - clean)
    return LatentLayout(roles, tuple(map(float, range(frames))), tuple(rules))


def request(case: Case, audio: bool) -> dict[str, Any]:
    """The arguments of a published call, in our terms."""
    inputs = dict(case.inputs)
    latents, timestep = inputs["hidden_states"], inputs["timestep"]
    batch, clean = latents.shape[0], case.args.get("num_cond_latents", 0)
    if "cond_latents" in inputs:
        clean = inputs["cond_latents"].shape[2]
        latents = torch.cat([inputs["cond_latents"].expand(batch, -1, -1, -1, -1), latents], 2)
        timestep = torch.cat([torch.zeros(batch, clean), timestep], 1)
    frames = latents.shape[2]
    if timestep.ndim == 1:
        timestep = timestep[:, None].expand(-1, frames)
    mask = inputs.get("encoder_attention_mask")
    text = Text(inputs["encoder_hidden_states"][:, 0], None if mask is None else mask.bool())
    sound = inputs["audio_embs"][:, None] if audio else torch.zeros(batch, 1, 1, 1, 1, 1)
    regions = None
    if "ref_target_masks" in inputs:
        sound, regions = inputs["audio_embs"][None], inputs["ref_target_masks"][None] > 0
    return {
        "latents": latents,
        # Float64, so that a thousand times sigma is the recorded timestep exactly.
        "sigma": timestep.double() / 1000,
        "cond": Conditioning(text, text, sound, regions),
        "layout": published_layout(clean, frames, case.args) if audio else base_layout(clean, frames),
    }


def tolerance(case: Case) -> dict[str, float]:
    return {"atol": 0.12 if case.args.get("bf16") else 5e-5, "rtol": 0.0}


def assert_parity(velocity: Tensor, clean: int, case: Case) -> None:
    noise = velocity.shape[2] - clean
    assert_close(-velocity[:, :, clean:], case.outputs["out"][:, :, -noise:], **tolerance(case))


@pytest.mark.parametrize(("file", "name"), pairs(DIT_CASES))
def test_agrees_with_the_published_network(file: str, name: str) -> None:
    network, case = load(file, name)
    with torch.inference_mode():
        given = request(case, network.params.audio is not None)
        assert_parity(network(**given), given["layout"].clean, case)


@pytest.mark.parametrize(("file", "name"), pairs(CACHE_CASES))
def test_cache_agrees_with_the_published_one(file: str, name: str) -> None:
    network, case = load(file, name)
    given = request(case, network.params.audio is not None)
    assert_cached_parity(network, given, case)


def test_one_voice_with_regions_is_cut_in_half_by_the_published_cache() -> None:
    """A quirk we do not share, so it is put in front: half of the tokens of a voice belong to either person."""
    network, case = load("avatar_dit_multi", "avc_kv_1h_masks")
    given = request(case, audio=True)
    audio = network.params.audio
    network.params = replace(network.params, audio=replace(audio, context_tokens=audio.context_tokens // 2))
    network.audio_proj.register_forward_hook(
        lambda module, inputs, tokens: torch.stack([half[0] for half in tokens[:1].chunk(2, 2)])
    )
    cond = replace(given["cond"], audio=given["cond"].audio.repeat(1, 2, 1, 1, 1, 1))
    assert_cached_parity(network, given | {"cond": cond}, case)


def assert_cached_parity(network: LongCat, given: dict[str, Any], case: Case) -> None:
    cache = ClipCache()
    with torch.inference_mode():
        velocity = network(**given, cache=cache)
    assert_parity(velocity, given["layout"].clean, case)
    for block in range(network.params.depth):
        for ours, letter in ((cache[block].keys, "k"), (cache[block].values, "v")):
            theirs = case.outputs[f"kv.{block}.{letter}"]
            assert_close(ours[:1].flatten(1, 2).transpose(1, 2), theirs, **tolerance(case))


@pytest.mark.parametrize(
    ("config", "count"),
    [
        ("base_dit_config", 13_581_071_424),
        ("avatar_v1.0_config", 15_871_660_096),
        ("avatar_v1.5_base_model_config", 15_852_916_800),
    ],
)
def test_published_sizes_give_the_published_number_of_parameters(config: str, count: int) -> None:
    path = golden_folder().parents[1] / "spec" / "configs" / f"{config}.json"
    if not path.is_file():
        pytest.skip(f"published config not found: {path}")
    with torch.device("meta"):
        network = LongCat(LongCatParams.from_config(json.loads(path.read_text())))
    assert sum(parameter.numel() for parameter in network.parameters()) == count


def test_keys_are_those_of_the_published_index() -> None:
    path = golden_folder().parents[1] / "spec" / "configs" / "avatar_v1.5_bf16_index.json"
    if not path.is_file():
        pytest.skip(f"published index not found: {path}")
    with torch.device("meta"):
        network = LongCat(LongCatParams(audio=AudioParams(audio_block=5, audio_channel=1280)))
    assert set(network.state_dict()) == set(json.loads(path.read_text())["weight_map"])


def sines(shape: torch.Size | tuple[int, ...], step: float) -> Tensor:
    """Numbers in -1..1 that no random generator had a part in."""
    return (step * torch.arange(math.prod(shape), dtype=torch.float64)).sin().float().view(shape)


def small_network() -> LongCat:
    sizes = {"hidden_size": 32, "depth": 2, "num_heads": 2, "caption_channels": 12, "adaln_tembed_dim": 16}
    audio = AudioParams(audio_block=2, audio_channel=6, intermediate_dim=16, output_dim=12, context_tokens=3)
    network = LongCat(LongCatParams(in_channels=4, out_channels=4, frequency_embedding_size=16, **sizes, audio=audio))
    with torch.no_grad():
        for index, (name, parameter) in enumerate(network.named_parameters()):
            one = float(name.endswith("norm.weight"))
            parameter.copy_(one + 0.4 * sines(parameter.shape, 1.7 + 0.01 * index))
    return network


def small_request(args: dict[str, int], clean: int = 3, frames: int = 9) -> dict[str, Any]:
    text = Text(sines((2, 5, 12), 0.7), torch.tensor([[True] * 5, [True] * 3 + [False] * 2]))
    audio = sines((2, 1, 4 * (frames - 2) + 1, 5, 2, 6), 0.9)
    sigma = torch.tensor([0.8, 0.3])[:, None].repeat(1, frames)
    sigma[:, :clean] = 0
    return {
        "latents": sines((2, 4, frames, 4, 6), 1.3),
        "sigma": sigma,
        "cond": Conditioning(text, text, audio),
        "layout": published_layout(clean, frames, {"num_ref_latents": 1} | args),
    }


@pytest.mark.parametrize("name", ["seen", "skipped", "far"])
def test_a_small_network_still_says_what_it_said(name: str) -> None:
    """Runs everywhere, for those without the published tensors; made when those agreed."""
    record = json.loads((Path(__file__).parents[1] / "golden" / "longcat.json").read_text())[name]
    with torch.inference_mode():
        velocity = small_network()(**small_request(record["args"]))
    assert_close(velocity[:, :, 3:, 1, ::2], torch.tensor(record["velocity"]), atol=2e-4, rtol=0)


def test_training_starts_from_zero_velocity_and_from_the_identity() -> None:
    network = LongCat(small_network().params)
    given = small_request({"ref_img_index": 4, "mask_frame_range": 1})
    assert network(**given).count_nonzero() == 0
    heard = []
    network.final_layer.register_forward_pre_hook(lambda module, inputs: heard.append(inputs[0]))
    network(**given)
    assert torch.equal(heard[0], network.x_embedder(given["latents"])[:, 3:])


@pytest.mark.parametrize("frames", [21, 37])
def test_audio_of_the_wrong_length_is_refused(frames: int) -> None:
    given = small_request({})
    cond = replace(given["cond"], audio=torch.zeros(2, 1, frames, 5, 2, 6))
    with pytest.raises(RequestError, match=f"audio for {frames // 4 + 1} latent frames, but the clip has 9"):
        small_network()(**given | {"cond": cond})


def test_noise_frames_hear_the_end_of_the_sound() -> None:
    """Sound for the reference too, or for one clean frame less: the noise frames hear the same."""
    given = small_request({})
    sound = given["cond"].audio
    earlier = torch.cat([sound[:, :, :1].expand(-1, -1, 4, -1, -1, -1), sound], 2)
    network = small_network()
    assert_close(network(**given | {"cond": replace(given["cond"], audio=earlier)}), network(**given))


def test_cells_that_fill_no_patch_are_refused() -> None:
    with pytest.raises(RequestError, match="5 x 6 latent cells"):
        small_network()(**small_request({}) | {"latents": torch.zeros(2, 4, 9, 5, 6)})


def test_padded_text_is_read_as_nothing_but_is_read() -> None:
    """A prompt of three tokens among five: what stands in the padding does not matter, that it is there does."""
    network, given = small_network(), small_request({})
    text = given["cond"].text
    noisy = replace(text, tokens=torch.where(text.mask[..., None], text.tokens, 9.0))
    longer = Text(torch.cat([text.tokens, noisy.tokens], 1), torch.cat([text.mask, torch.zeros_like(text.mask)], 1))
    said, same, other = (
        network(**given | {"cond": replace(given["cond"], text=told)}) for told in (text, noisy, longer)
    )
    assert torch.equal(said, same)
    assert (said - other).abs().amax((1, 2, 3, 4)).min() > 1e-3


def test_a_rounded_network_rounds_its_noise_levels() -> None:
    """bfloat16 has no number between 996 and 1000, the timestep of pure noise."""
    given = small_request({})
    for dtype, alike in ((torch.float32, False), (torch.bfloat16, True)):
        network = small_network().to(dtype)
        velocity = []
        for level in (0.9983, 1.0):
            given["sigma"][:, 3:] = level
            velocity.append(network(**given))
        assert torch.equal(*velocity) == alike


def test_switches_of_the_published_code_are_passed_over() -> None:
    switches = {"cp_split_hw": None, "enable_flashattn2": False, "enable_bsa": False, "bsa_params": None}
    stamps = {"_diffusers_version": "0.35.1", "model_max_length": 512, "architectures": ["LongCat"]}
    config = {"_class_name": "LongCatVideoAvatarTransformer3DModel", "depth": 2, "audio_block": 5}
    assert LongCatParams.from_config(config | switches | stamps) == LongCatParams.from_config(config)


def halves(batch: int = 2) -> Tensor:
    """Left, right, and the lowest row as background."""
    regions = torch.zeros(batch, 3, 8, 12, dtype=torch.bool)
    regions[:, 0, :4, :6], regions[:, 1, :4, 6:], regions[:, 2, 4:] = True, True, True
    return regions


def two_voices(**args: int) -> dict[str, Any]:
    given = small_request(args)
    audio = torch.cat([given["cond"].audio, given["cond"].audio.flip(2)], 1)
    return given | {"cond": replace(given["cond"], audio=audio, regions=halves())}


def test_several_voices_need_regions_and_a_first_frame() -> None:
    given = two_voices()
    with pytest.raises(RequestError, match="2 voices, but not the region of each speaker"):
        small_network()(**given | {"cond": replace(given["cond"], regions=None)})
    with pytest.raises(RequestError, match="2 voices and 2 regions of the picture; 3 regions were expected"):
        small_network()(**given | {"cond": replace(given["cond"], regions=halves()[:, 1:])})
    everything = (AttentionRule(range(8), (range(8),)),)
    nothing = LatentLayout((Role.NOISE,) * 8, given["layout"].positions[1:], everything)
    unseen = {"latents": given["latents"][:, :, 1:], "sigma": given["sigma"][:, 1:], "layout": nothing}
    with pytest.raises(RequestError, match="but not a first frame that shows them"):
        small_network()(**given | unseen)


def test_regions_say_nothing_to_one_voice() -> None:
    given = small_request({})
    shown = replace(given["cond"], regions=halves())
    for cached in (False, True):
        heard, alone = ({"cache": ClipCache() if cached else None} | told for told in (given | {"cond": shown}, given))
        assert torch.equal(small_network()(**heard), small_network()(**alone))


def test_speakers_of_a_batch_do_not_meet_and_the_cache_holds() -> None:
    network, given = small_network(), two_voices(ref_img_index=4, mask_frame_range=1)
    regions = halves()
    regions[1, :2] = regions[1, :2].flip(0)
    given["cond"] = replace(given["cond"], regions=regions)
    together = network(**given)
    cond, text = given["cond"], given["cond"].text
    alone = Text(text.tokens[1:], text.mask[1:])
    second = Conditioning(alone, alone, cond.audio[1:], regions[1:])
    one = {"latents": given["latents"][1:], "sigma": given["sigma"][1:], "cond": second, "layout": given["layout"]}
    assert_close(network(**one), together[1:], atol=2e-5, rtol=0)
    assert_close(network(**given, cache=ClipCache()), together, atol=2e-5, rtol=0)


def test_it_matters_who_says_what_and_not_who_is_named_first() -> None:
    network, given = small_network(), two_voices()
    cond, before = given["cond"], network(**given)
    voices = replace(cond, audio=cond.audio.flip(1))
    assert (network(**given | {"cond": voices}) - before).abs().max() > 1e-3
    network.banding = lambda *sizes: Bands(((20.0, 24.0), (0.0, 4.0), (12.0, 12.0)), (22.0, 2.0))
    renamed = replace(voices, regions=cond.regions[:, [1, 0, 2]])
    assert_close(network(**given | {"cond": renamed}), before, atol=2e-5, rtol=0)


def test_two_voices_train() -> None:
    network, given = small_network(), two_voices()
    network(**given).square().mean().backward()
    assert not [name for name, weight in network.named_parameters() if weight.grad is None]
    assert all(weight.grad.isfinite().all() for weight in network.parameters())
    heard = network.audio_proj.proj1_vf.weight.grad
    assert heard.abs().max() > 0


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="100 cannot be shared among 3 heads"):
        LongCatParams(hidden_size=100, num_heads=3)
    with pytest.raises(ConfigError, match="spans several latent frames"):
        LongCatParams(patch_size=(2, 2, 2))
