from dataclasses import replace
from pathlib import Path

from bench_cases import case
from enliven.bench.ablation_cost import clip_cost
from enliven.bench.talkers import request_for
from enliven.diffusion.guidance import Guidance
from enliven.pipeline import AvatarPipeline
from tiny import tiny_networks, tiny_spec


def test_passes_are_those_of_steps_and_guidance(tmp_path: Path) -> None:
    spec, networks = tiny_spec(), tiny_networks()
    request = request_for(case(1.0), tmp_path, (32, 32))
    guided = clip_cost(AvatarPipeline(spec, networks), request)
    alone = clip_cost(AvatarPipeline(replace(spec, guidance=Guidance(1.0, 1.0), steps=4), networks), request)
    assert guided.passes == 2 * spec.steps
    assert alone.passes == 4
    assert guided.video_seconds == 17 / 25
    assert guided.backbone > 0
    assert guided.rest > 0
    assert not networks.backbone._forward_hooks
