"""What a model needs, found before it is here: its networks are built without memory and run on shapes alone."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from tokenizers import Tokenizer
from tokenizers.models import BPE
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from enliven.models.backbone import BlockCache, ClipCache
from enliven.models.int8 import to_int8
from enliven.models.networks import NetworkParams, Params, build_network
from enliven.models.quantised import QuantisedLinear
from enliven.runtime.attention import CrossAttend, SelfAttend
from enliven.runtime.memory import AUTOENCODER, BACKBONE, TEXT, Dtype, Needs, NetworkNeeds
from enliven.systems.spec import ModelSpec
from enliven.types import UNHEARD, Conditioning, LatentLayout, Text

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
FEW = (2, 3)  # latents that tell what any number of them takes


@dataclass(frozen=True, slots=True)
class Pass:
    """What the backbone is given once in each step of a clip that continues another."""

    latents: Float[Tensor, "1 c t h w"]
    sigma: Float[Tensor, "1 t"]
    cond: Conditioning
    layout: LatentLayout

    def run(self, backbone: nn.Module, cache: ClipCache | None = None) -> Float[Tensor, "1 c t h w"]:
        """Run it."""
        return backbone(self.latents, self.sigma, self.cond, self.layout, cache)


def example_pass(
    spec: ModelSpec, size: tuple[int, int] | None = None, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> Pass:
    """Inputs as those of a clip of ``spec``, at its own size or another; there is nothing in them but noise."""
    geometry, params, autoencoder = spec.geometry, spec.params, spec.params.autoencoder
    frames, context = geometry.latents(geometry.frames), geometry.latents(geometry.context)
    layout = spec.arrange(frames=frames, context=context, reference=True)
    height, width = (side // autoencoder.spatial_factor for side in size or spec.size)
    sigma = torch.full((1, len(layout)), 0.5, device=device)
    sigma[:, : layout.clean] = 0
    hearing = params.backbone.audio
    text = _noise(1, params.text.length, _text_width(params), device=device, dtype=dtype)
    heard = UNHEARD
    if hearing is not None:
        heard = (1, 1, geometry.frames, hearing.audio_window, hearing.audio_block, hearing.audio_channel)
    told = Text(text, torch.ones(1, params.text.length, dtype=torch.bool, device=device))
    cond = Conditioning(told, told, _noise(*heard, device=device, dtype=dtype))
    return Pass(_noise(1, autoencoder.channels, len(layout), height, width, device=device), sigma, cond, layout)


def model_needs(spec: ModelSpec, dtype: Dtype | None = None) -> Needs:
    """What all networks of a model need for a clip of its own size, in its own type or another. Raises MissingExtra."""
    networks = {name: shapes_of(sizes) for name, sizes in spec.params.parts.items()}
    parts = {name: NetworkNeeds(_count(network)) for name, network in networks.items()}
    decoder = networks[AUTOENCODER]
    if spec.decoder in spec.params.decoders:
        decoder = shapes_of(spec.params.decoders[spec.decoder])
        parts[spec.decoder] = NetworkNeeds(_count(decoder))
    text = tuple(map(_count, networks[TEXT].network.encoder.block))
    parts[TEXT] = NetworkNeeds(parts[TEXT].parameters, text)
    with FakeTensorMode(), torch.no_grad():
        working, whole = _decoding(spec, decoder)
        encoding = _encoding(spec, networks[AUTOENCODER])
        parts[AUTOENCODER] = replace(parts[AUTOENCODER], working=working, whole=whole, encoding=encoding)
        needs = Needs(parts, asked=dtype, stored="int8" if spec.quantised else "none")
        parts[BACKBONE], cache = _backbone_part(spec, networks[BACKBONE], DTYPES[needs.dtype])
    return replace(needs, cache=cache)


def pass_flops(spec: ModelSpec, size: tuple[int, int] | None = None) -> int:
    """Multiplications and additions of one pass of the backbone."""
    backbone = shapes_of(spec.params.backbone)
    blocks, backbone.blocks = backbone.blocks, backbone.blocks[:1]
    counter = FlopCounterMode(display=False)
    with FakeTensorMode(), torch.no_grad(), counter:
        example_pass(spec, size).run(filled(backbone))
    by_module = counter.get_flop_counts()
    block = sum(sum(counts.values()) for name, counts in by_module.items() if name.endswith("blocks.0"))
    return int(counter.get_total_flops() + (len(blocks) - 1) * block)


def shapes_of(params: Params) -> Any:
    """A network that can be counted and not run."""
    with torch.device("meta"):
        return build_network(params, lambda: Tokenizer(BPE())).eval()


def filled(network: Any, make: Callable[..., Tensor] = torch.empty, dtype: torch.dtype | None = None) -> Any:
    """The same with new tensors, in place; within a ``FakeTensorMode`` they have a device and no memory."""
    for module in network.modules():
        for name, value in module._parameters.items():
            if value is not None:
                module._parameters[name] = nn.Parameter(make(value.shape, dtype=dtype or value.dtype), False)  # noqa: FBT003
        for name, value in module._buffers.items():
            if value is not None:
                module._buffers[name] = make(value.shape, dtype=value.dtype)
    return network


class PeakMemory(TorchDispatchMode):
    """Counts the bytes of tensors made inside that are alive at a time; ``peak`` is the most there were."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count what it made."""
        made = function(*args, **(kwargs or {}))
        for tensor in _tensors(made):
            self._count(tensor.untyped_storage())
        return made

    def _count(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.held += size
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.held -= size


def _backbone_part(spec: ModelSpec, backbone: Any, dtype: torch.dtype) -> tuple[NetworkNeeds, int]:
    """The backbone, and the bytes of the keys it keeps. One block is run: all are alike."""
    parameters, blocks = _count(backbone), tuple(map(_count, backbone.blocks))
    exact, scales = _beside_small(shapes_of(spec.params.backbone))
    backbone.blocks = backbone.blocks[:1]
    given = example_pass(spec, dtype=dtype)
    cache = ClipCache() if given.layout.cacheable else None
    with _attending_freely(filled(backbone, dtype=dtype)), PeakMemory() as memory:
        given.run(backbone, cache)
    kept = _kept(cache[0]) if cache is not None and cache.filled else 0
    part = NetworkNeeds(parameters, blocks, memory.peak - kept, exact=exact, scales=scales)
    return part, kept * len(blocks)


def _beside_small(backbone: Any) -> tuple[int, int]:
    """How many parameters have no 8 bits, and how many scales the others get; alike in all formats."""
    small = [layer for layer in to_int8(backbone).modules() if isinstance(layer, QuantisedLinear)]
    return _count(backbone), sum(layer.weight_scale.numel() for layer in small)


def _decoding(spec: ModelSpec, autoencoder: Any) -> tuple[int, int]:
    """Bytes that decoding takes, latent by latent, and a clip at once. More latents take evenly more."""
    filled(autoencoder)
    height, width = (side // autoencoder.spatial_factor for side in spec.size)
    peaks = []
    for count in (1, *FEW):
        stream = autoencoder.stream()
        stream.push(torch.empty(1, autoencoder.channels, 1, height, width))
        with PeakMemory() as memory:
            stream.push(torch.empty(1, autoencoder.channels, count, height, width))
        peaks.append(memory.peak)
    one, few, more = peaks
    return one, few + (spec.geometry.latents(spec.geometry.frames) - FEW[0]) * (more - few)


def _encoding(spec: ModelSpec, autoencoder: Any) -> int:
    """Bytes that every clip takes to encode, its pixels too: a draft, the end of the clip before, or a portrait."""
    geometry, latents = spec.geometry, 1
    if spec.refines or not spec.carry.continuous:
        latents = geometry.latents(geometry.frames if spec.refines else geometry.context)
    filled(autoencoder)

    def peak(count: int) -> int:
        with PeakMemory() as memory:
            autoencoder.encode(torch.empty(1, 3, geometry.stride * (count - 1) + 1, *spec.size))
        return memory.peak

    few, more = FEW
    return peak(latents) if latents <= more else peak(few) + (latents - few) * (peak(more) - peak(few))


@contextmanager
def _attending_freely(network: nn.Module) -> Iterator[None]:
    """Attention as fused kernels do it: nothing is held but what comes out."""
    leaves = [leaf for leaf in network.modules() if isinstance(leaf, SelfAttend | CrossAttend)]
    before = [leaf.kernel for leaf in leaves]
    for leaf in leaves:
        leaf.kernel = lambda q, k, v, bias=None: torch.empty_like(q)  # noqa: ARG005
    try:
        yield
    finally:
        for leaf, kernel in zip(leaves, before, strict=True):
            leaf.kernel = kernel


def _kept(block: BlockCache) -> int:
    return sum(0 if kept is None else kept.nbytes for kept in (block.keys, block.values))


def _tensors(made: Any) -> Iterator[Tensor]:
    for each in made if isinstance(made, list | tuple) else (made,):
        if isinstance(each, Tensor):
            yield each


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _noise(*shape: int, device: str, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, device=device, dtype=dtype)


def _text_width(params: NetworkParams) -> int:
    return int(params.text.config.get("d_model", 512))
