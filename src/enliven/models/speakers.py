"""Who says what: rotary labels bind voices to people (L-RoPE; LongCat-Video-Avatar, section 3.5).

Every person owns a band of labels. A token of the picture is turned by a label of the person it belongs to, the tokens
of a voice by the middle of that person's band: a mouth then hears its own voice best. Whom a token belongs to, self
attention knows: the person in the first frame that the token looks at most.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from enliven.errors import RequestError
from enliven.media.regions import token_masks
from enliven.runtime.attention import load_kernel


class Bands(NamedTuple):
    """The lowest and highest label of each region of the picture, and the label of each voice."""

    regions: tuple[tuple[float, float], ...]
    voices: tuple[float, ...]


@runtime_checkable
class Banding(Protocol):
    """A way to share out labels."""

    def __call__(self, voices: int, regions: int, span: int, width: int) -> Bands:
        """Labels for a network that knows two bands of ``width`` labels at the ends of ``span`` labels."""
        ...


def band_each(voices: int, regions: int, span: int = 24, width: int = 4) -> Bands:
    """A band for every voice, in the order of the regions; the last region is the background.

    For two voices these are the published labels. Each further band lies as far from the one before as the second
    from the first, a distance the network has learnt; the background stays between the first two, in no band.
    Raises RequestError unless there is one region more than there are voices.
    """
    if regions != voices + 1:
        raise RequestError(
            f"{voices} voices and {regions} regions of the picture; {voices + 1} regions were expected",
            hint="give one region for each speaker, in the order of the voices, and the background last",
        )
    starts = [index * (span - width) for index in range(voices)]
    bands = tuple((float(start), float(start + width)) for start in starts)
    return Bands((*bands, (span // 2, span // 2)), tuple((low + high) / 2 for low, high in bands))


def band_two(voices: int, regions: int, span: int = 24, width: int = 4) -> Bands:
    """The published labels: two bands, for the first two voices and regions; one label for whatever else there is.

    The third region is the background; further people stand behind it and share the label of the background, as does
    the silence they are given for a voice.
    """
    first, second = band_each(2, 3, span, width).regions[:2]
    rest = float(span // 2) if regions <= 3 else 100.0
    middles = [(first[0] + first[1]) / 2, (second[0] + second[1]) / 2]
    return Bands((first, second, *[(rest, rest)] * (regions - 2)), (*middles, *[rest] * (voices - 2)))


class Speakers(NamedTuple):
    """Where the speakers are in the first frame, and the labels of the regions and of each audio token."""

    masks: Float[Tensor, "b regions s"]
    bands: Float[Tensor, "regions 2"]
    voices: Float[Tensor, "a"]


class Labels(NamedTuple):
    """One label for each noise token and for each audio token."""

    tokens: Float[Tensor, "b t s"]
    voices: Float[Tensor, "a"]


def place_speakers(
    regions: Bool[Tensor, "b regions height width"], grid: tuple[int, int], bands: Bands, tokens: int
) -> Speakers:
    """Speakers on a token ``grid`` of (rows, columns), each voice heard through ``tokens`` audio tokens.

    A token belongs to the regions of its nearest pixel. Raises RequestError where a speaker is left without a token.
    """
    masks = token_masks(regions.float(), grid).flatten(2).float()
    for index, (low, high) in enumerate(bands.regions):
        if high > low and not masks[:, index].any(-1).all():
            raise RequestError(
                f"the region of speaker {index + 1} holds no token of the {grid[0]} x {grid[1]} in the picture",
                hint="give a larger region, or a larger picture",
            )
    voices = torch.tensor(bands.voices, device=masks.device).repeat_interleave(tokens)
    return Speakers(masks, torch.tensor(bands.regions, device=masks.device), voices)


class LabelSpeakers(nn.Module):
    """The leaf that labels noise tokens. Labels are addresses, not learnt, so no gradient goes through them.

    Its two steps have names for whoever shares the tokens among processes: the second needs all of them.
    """

    @torch.no_grad()
    def forward(
        self, q: Float[Tensor, "b t s n d"], reference: Float[Tensor, "b s n d"], speakers: Speakers
    ) -> Float[Tensor, "b t s"]:
        """Labels from rotated queries of noise frames and rotated keys of the first frame."""
        return self.label(self.look(q, reference, speakers), speakers)

    def look(
        self, q: Float[Tensor, "b t s n d"], reference: Float[Tensor, "b all n d"], speakers: Speakers
    ) -> Float[Tensor, "b regions t s"]:
        """How strongly each token looks at each region."""
        return reference_map(q, reference, speakers.masks)

    def label(self, seen: Float[Tensor, "b regions t s"], speakers: Speakers) -> Float[Tensor, "b t s"]:
        """The label of each token, by how all tokens of the clip look."""
        return label_map(seen, speakers.bands)


def label_map(seen: Float[Tensor, "b regions t s"], bands: Float[Tensor, "regions 2"]) -> Float[Tensor, "b t s"]:
    """Labels from how strongly each token looks at each region.

    A token takes the band of the region it sees best, and its place in the band by how well it sees it among all
    tokens of the clip.
    """
    low, high = seen.amin((2, 3), keepdim=True), seen.amax((2, 3), keepdim=True)
    share = (seen - low) / (high - low + 1e-8)
    start, stop = bands.to(seen.dtype)[:, :, None, None].unbind(1)
    return (share * (stop - start) + start).gather(1, seen.argmax(1, keepdim=True))[:, 0]


def reference_map(
    q: Float[Tensor, "b t s n d"], reference: Float[Tensor, "b all n d"], masks: Float[Tensor, "b regions all"]
) -> Float[Tensor, "b regions t s"]:
    """How strongly each token looks at each region of the reference frame: attention for each token of the region.

    The mean over heads; of an odd number of heads the last is left out, as published. It is attention whose values
    are the masks, so no map of all tokens against all others is ever held.
    """
    regions, heads = masks.shape[1], q.shape[3] // 2 * 2 or 1
    if regions > q.shape[4]:
        raise RequestError(f"{regions} regions of the picture, but a head has {q.shape[4]} channels", hint="give fewer")
    shown = F.pad(masks.mT, (0, q.shape[4] - regions)).to(q.dtype)
    values = shown[:, None].expand(-1, heads, -1, -1)
    queries, keys = q[:, :, :, :heads].flatten(1, 2).transpose(1, 2), reference[:, :, :heads].transpose(1, 2)
    seen = load_kernel("auto")(queries, keys, values, None)[..., :regions].mean(1)
    return (seen.mT / masks.sum(-1).clamp(min=1).to(q.dtype)[:, :, None]).unflatten(2, q.shape[1:3])


def turn(x: Float[Tensor, "*b s n d"], labels: Float[Tensor, "*#b s"]) -> Float[Tensor, "*b s n d"]:
    """One-dimensional rotary position: neighbouring channels turned by their label, in float32."""
    exponents = torch.arange(0, x.shape[-1], 2, device=x.device, dtype=torch.float32) / x.shape[-1]
    angles = labels.float()[..., None, None] * 10000**-exponents
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(-2).to(x.dtype)
