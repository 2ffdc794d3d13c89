"""What a model needs, against networks that are really built and run."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from enliven.models.backbone import ClipCache
from enliven.models.networks import PARTS
from enliven.runtime.memory import EIGHT_BITS, Quantise, weights_bytes
from enliven.systems import MODELS
from enliven.systems.carry import Reencode
from enliven.systems.execution import SHRINK
from enliven.systems.footprint import PeakMemory, example_pass, filled, model_needs, pass_flops, shapes_of
from enliven.systems.spec import ModelSpec
from tiny import tiny_networks, tiny_soul, tiny_soul_networks, tiny_spec


def test_the_peak_is_what_lived_at_a_time() -> None:
    x = torch.ones(1000)
    with PeakMemory() as memory:
        a = x + 1
        b = a * 2
        del a
        c = (b + b)[:10]  # a view holds the whole
        d = b.view(10, 100)
        assert memory.held == 8000
        del b, d
        assert memory.held == 4000
        del c
    assert (memory.held, memory.peak) == (0, 8000)


@pytest.mark.parametrize("spec", [tiny_spec(), tiny_soul()], ids=["longcat", "soul"])
def test_imagined_networks_take_what_real_ones_take(spec: ModelSpec) -> None:
    """Parameters and cache to the byte; work as on real tensors, but for attention, which is taken as fused."""
    needs = model_needs(spec)
    networks = tiny_soul_networks() if spec.geometry.pivot else tiny_networks()
    for name in PARTS:
        real = networks.parts[name]
        if name != "text":  # whose words are counted as the params say, not as the tokenizer learnt
            assert needs.parts[name].parameters == sum(each.numel() for each in real.parameters())
    given, backbone = example_pass(spec), networks.backbone
    assert needs.parts["backbone"].blocks == tuple(
        sum(each.numel() for each in block.parameters()) for block in backbone.blocks
    )
    cache = ClipCache() if given.layout.cacheable else None
    with torch.no_grad(), PeakMemory() as memory:
        given.run(backbone, cache)
    kept = 0
    if cache is not None and cache.filled:
        kept = sum(each.nbytes for index in range(2) for each in (cache[index].keys, cache[index].values))
    assert needs.cache == kept
    working = needs.parts["backbone"].working
    assert 0.6 * (memory.peak - kept) <= working <= memory.peak
    stream = networks.autoencoder.stream()
    stream.push(torch.zeros(1, 4, 1, 4, 4))
    with PeakMemory() as memory:
        stream.push(torch.zeros(1, 4, spec.geometry.latents(spec.geometry.frames), 4, 4))
    assert needs.parts["autoencoder"].whole == pytest.approx(memory.peak, rel=0.1)
    assert needs.parts["autoencoder"].working < needs.parts["autoencoder"].whole


@pytest.mark.parametrize(
    ("changes", "frames"),
    [({}, 1), ({"carry": Reencode()}, 5), ({"refines": True}, 17)],
    ids=["portrait", "end", "draft"],
)
def test_what_every_clip_encodes_is_counted(changes: dict[str, Any], frames: int) -> None:
    spec, autoencoder = replace(tiny_spec(), **changes), tiny_networks().autoencoder
    with torch.no_grad(), PeakMemory() as memory:
        autoencoder.encode(torch.zeros(1, 3, frames, *spec.size))
    assert model_needs(spec).parts["autoencoder"].encoding == memory.peak


@pytest.mark.parametrize("small", EIGHT_BITS)
@pytest.mark.parametrize("spec", [tiny_spec(), tiny_soul()], ids=["longcat", "soul"])
def test_eight_bits_take_what_was_counted(spec: ModelSpec, small: Quantise) -> None:
    """Every tensor of a network that is really made small, to the byte; LoRAs stay as they are."""
    networks = tiny_soul_networks() if spec.geometry.pivot else tiny_networks()
    backbone = SHRINK[small](networks.backbone.bfloat16())
    real = sum(value.nbytes for value in backbone.state_dict().values())
    assert weights_bytes(model_needs(spec), "bfloat16", small)["backbone"] == real


def test_the_published_sizes() -> None:
    """Soul's backbone is Wan 2.2 of 5.0 G parameters and what it hears with; UMT5-XXL has an encoder of 5.68 G."""
    wan = shapes_of(replace(MODELS["soul"].params.backbone, audio=None))
    assert sum(each.numel() for each in wan.parameters()) == pytest.approx(5.0e9, rel=0.01)
    text = shapes_of(MODELS["soul"].params.text)
    assert sum(each.numel() for each in text.parameters()) == pytest.approx(5.68e9, rel=0.01)


def test_multiplications_grow_with_depth_and_with_the_picture() -> None:
    spec = tiny_spec()
    deeper = replace(spec, params=replace(spec.params, backbone=replace(spec.params.backbone, depth=4)))
    deepest = replace(spec, params=replace(spec.params, backbone=replace(spec.params.backbone, depth=6)))
    two, four, six = (pass_flops(each) for each in (spec, deeper, deepest))
    assert six - four == four - two > 0.3 * two
    assert pass_flops(spec, (64, 64)) > 4 * two - (six - four)


def test_filling_makes_a_network_that_runs() -> None:
    spec = tiny_spec()
    backbone = filled(shapes_of(spec.params.backbone), torch.zeros, torch.bfloat16)
    with torch.inference_mode():
        assert example_pass(spec, dtype=torch.bfloat16).run(backbone).shape == (1, 4, 6, 4, 4)
    with FakeTensorMode():
        assert filled(shapes_of(spec.params.backbone)).final_layer.linear.weight.device.type == "cpu"
