"""Tiny backbones and what they can be asked to do: the passes that several processes must make as one does."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from enliven.models.backbone import ClipCache
from enliven.models.longcat import LongCat, LongCatParams
from enliven.models.longcat_audio import AudioParams
from enliven.models.wan import Wan, WanParams
from enliven.models.wan_audio import WanAudioParams
from enliven.types import AttentionRule, Conditioning, LatentLayout, Role, Text

LONGCAT = LongCatParams(
    in_channels=4,
    out_channels=4,
    hidden_size=32,
    depth=2,
    num_heads=4,
    caption_channels=16,
    adaln_tembed_dim=16,
    frequency_embedding_size=16,
    audio=AudioParams(
        audio_window=5, audio_block=2, audio_channel=16, intermediate_dim=16, output_dim=16, context_tokens=2
    ),
)
WAN = WanParams(
    in_channels=4,
    out_channels=4,
    num_attention_heads=4,
    attention_head_dim=8,
    num_layers=2,
    ffn_dim=32,
    text_dim=16,
    freq_dim=16,
    audio=WanAudioParams(audio_block=3, audio_channel=16, intermediate_dim=16, tokens=2),
)


def clip(roles: str, *rules: AttentionRule) -> LatentLayout:
    """Latent frames by their first letters; without rules, everything sees everything."""
    found = tuple(next(role for role in Role if role[0] == letter) for letter in roles)
    everything = AttentionRule(range(len(roles)), (range(len(roles)),))
    return LatentLayout(found, tuple(map(float, range(len(roles)))), rules or (everything,))


IMAGE = clip("cnnn", AttentionRule(range(1), (range(1),)), AttentionRule(range(1, 4), (range(4),)))
CONTINUATION = clip(
    "rccnnn",
    AttentionRule(range(1), (range(1),)),
    AttentionRule(range(1, 3), (range(1, 3),)),
    AttentionRule(range(3, 4), (range(1, 6),)),  # skips the reference
    AttentionRule(range(4, 5), (range(1), range(1, 6)), (-1.2, 0.0)),  # sees it weakly
    AttentionRule(range(5, 6), (range(6),)),
)


@dataclass(frozen=True, slots=True)
class Pass:
    """A backbone, a layout, a grid of latent cells, and how many speak."""

    params: Any
    layout: LatentLayout
    grid: tuple[int, int] = (4, 4)
    people: int = 1

    @property
    def cacheable(self) -> bool:
        return self.layout.cacheable and isinstance(self.params, LongCatParams)


PASSES = {
    "longcat-text": Pass(LONGCAT, clip("nnnn")),
    "longcat-image": Pass(LONGCAT, IMAGE),
    "longcat-continuation": Pass(LONGCAT, CONTINUATION),
    "longcat-uneven": Pass(LONGCAT, CONTINUATION, (6, 10)),
    "longcat-fewer-tokens-than-processes": Pass(LONGCAT, IMAGE, (2, 4)),
    "longcat-people": Pass(LONGCAT, CONTINUATION, (6, 10), people=2),
    "wan-text": Pass(WAN, clip("nnnn")),
    "soul-pivot": Pass(WAN, clip("rnnn")),
    "soul-continuation": Pass(WAN, clip("rccnn"), (6, 10)),
}


def backbone(params: Any) -> Any:
    """A network whose every weight is random, the same each time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = LongCat(params) if isinstance(params, LongCatParams) else Wan(params)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return network.eval().requires_grad_(False)


@torch.no_grad()
def velocities(network: Any, made: Pass, *, cached: bool = False) -> Tensor:
    """Those of two steps, the second of which finds the cache filled."""
    given = inputs(made)
    cache = ClipCache() if cached else None
    return torch.stack([step(network, given, level, cache) for level in (0.9, 0.4)])


def step(network: Any, given: dict[str, Any], level: float, cache: ClipCache | None = None) -> Tensor:
    layout = given["layout"]
    sigma = torch.full((2, len(layout)), level)
    sigma[:, : layout.clean] = 0
    latents = given["latents"].clone()
    latents[:, :, layout.clean :] *= level
    return network(latents, sigma, given["cond"], layout, cache)


def inputs(made: Pass) -> dict[str, Any]:
    """Latents, conditions and layout of a pass; the same each time."""
    random = torch.Generator().manual_seed(1)
    layout, hearing, (height, width) = made.layout, made.params.audio, made.grid
    own = len(layout) - layout.references
    heard = 4 * own if layout.references and not isinstance(made.params, LongCatParams) else 1 + 4 * (own - 1)
    text = Text(torch.randn(2, 6, 16, generator=random), torch.arange(6) < torch.tensor([[6], [4]]))
    null = Text(torch.randn(2, 6, 16, generator=random), torch.arange(6) < torch.tensor([[3], [3]]))
    audio = torch.randn(2, made.people, heard, hearing.audio_window, hearing.audio_block, 16, generator=random)
    regions = None
    if made.people == 2:
        regions = torch.zeros(2, 3, height, width, dtype=torch.bool)
        regions[:, 0, :, : width // 2 - 1], regions[:, 1, :, width // 2 + 1 :] = True, True
        regions[:, 2] = ~regions[:, :2].any(1)
    latents = torch.randn(2, 4, len(layout), height, width, generator=random)
    return {"latents": latents, "cond": Conditioning(text, null, audio, regions), "layout": layout}
