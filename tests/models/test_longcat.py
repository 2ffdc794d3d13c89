"""The network against tensors of the published one, and what its initialisation promises."""

import json
from typing import Any

import pytest
import torch
from golden_files import Case, golden, golden_folder
from torch import Tensor
from torch.testing import assert_close

from enliven.models.backbone import ClipCache
from enliven.models.longcat import AudioAttention, LongCat, LongCatParams
from enliven.models.longcat_audio import AudioParams, AudioProj, group_windows
from enliven.types import AttentionRule, Conditioning, LatentLayout, Role, Text

DIT_CASES = [
    ("base_dit", ["t2v", "t2v_nomask", "i2v", "vc_nocache"]),
    ("base_dit_packed", ["t2v"]),
    (
        "avatar_dit_single",
        ["at2v", "at2v_uncond_audio", "ai2v", "avc_rsa_active", "avc_rsa_lastfit", "avc_rsa_past_end"]
        + ["avc_rsa_before_start", "avc_ref30", "avc_refneg", "avc_nomask"],
    ),
    ("avatar_dit_alt", ["at2v"]),
    ("avatar_dit_bf16", ["at2v", "ai2v"]),
]
CACHE_CASES = [
    ("base_dit", ["vc_kv"]),
    ("avatar_dit_single", ["avc_kv_rsa_active", "avc_kv_rsa_off"]),
    ("avatar_dit_bf16", ["avc_kv"]),
]


def pairs(table: list[tuple[str, list[str]]]) -> list[tuple[str, str]]:
    return [(file, name) for file, names in table for name in names]


def load(file: str, name: str) -> tuple[LongCat, Case]:
    record = golden(file)
    kind = "Avatar" if "audio_window" in record.config else "Video"
    network = LongCat(LongCatParams.from_config(record.config | {"_class_name": kind}))
    case = record.case(name)
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
    return {
        "latents": latents,
        # Float64, so that a thousand times sigma is the recorded timestep exactly.
        "sigma": timestep.double() / 1000,
        "cond": Conditioning(text, text, sound),
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
    cache = ClipCache()
    with torch.inference_mode():
        given = request(case, network.params.audio is not None)
        velocity = network(**given, cache=cache)
    assert_parity(velocity, given["layout"].clean, case)
    for block in range(network.params.depth):
        for ours, letter in ((cache[block].keys, "k"), (cache[block].values, "v")):
            theirs = case.outputs[f"kv.{block}.{letter}"]
            assert_close(ours[:1].flatten(1, 2).transpose(1, 2), theirs, **tolerance(case))


def test_audio_windows_are_grouped_as_published() -> None:
    case = golden("audio_grouping").case("g")
    first, later = group_windows(case.inputs["audio_embs"], stride=4)
    assert torch.equal(first, case.outputs["first"])
    assert torch.equal(later, case.outputs["latter"])


@pytest.mark.parametrize("name", ["b1", "b2"])
def test_audio_projection_agrees_with_the_published_one(name: str) -> None:
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
    assert_close(tokens, case.outputs["out"], **tolerance(case))


@pytest.mark.parametrize("name", ["single_t2v", "single_cond1"])
def test_audio_attention_agrees_with_the_published_one(name: str) -> None:
    record = golden("audio_cross_attn")
    sizes, case = record.config, record.case(name)
    params = LongCatParams(hidden_size=sizes["dim"], num_heads=sizes["num_heads"])
    network = AudioAttention(params, sizes["encoder_hidden_states_dim"])
    network.load_state_dict(record.state_dict)
    (frames, rows, columns), clean = case.args["shape"], case.args["num_cond_latents"]
    x = case.inputs["x"].unflatten(1, (frames, rows * columns))
    audio = case.inputs["cond"].unflatten(0, (-1, frames))
    heard = network(x[:, clean:], audio[:, clean:])
    assert_close(heard.flatten(1, 2), case.outputs["noise"], **tolerance(case))


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
