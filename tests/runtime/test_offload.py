"""Blocks that come and go: the same numbers, and little memory."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from enliven.errors import ConfigError, WeightsError
from enliven.models.backbone import ClipCache
from enliven.models.int8 import to_int8
from enliven.models.longcat import LongCat
from enliven.models.stored import read_headers
from enliven.runtime.offload import BlockStore, FiledBlocks, HeldBlocks, offload_blocks
from enliven.types import AttentionRule, Conditioning, LatentLayout, Role, Text
from tiny import PARAMS, SOUL_PARAMS, tiny_networks

LAYOUT = LatentLayout(
    roles=(Role.REFERENCE, Role.CONTEXT, *[Role.NOISE] * 3),
    positions=(2.0, 0.0, 1.0, 2.0, 3.0),
    attention=(
        AttentionRule(range(1), (range(1),)),
        AttentionRule(range(1, 2), (range(1, 2),)),
        AttentionRule(range(2, 5), (range(5),)),
    ),
)


def backbone(params: Any = PARAMS) -> Any:
    return tiny_networks(0, params).backbone


def velocity(network: Any, cache: ClipCache | None = None, device: str = "cpu") -> Tensor:
    torch.manual_seed(1)
    sigma = torch.tensor([[0.0, 0.0, 0.7, 0.7, 0.7]], device=device)
    audio = network.params.audio
    text = Text(torch.randn(1, 12, 16).to(device), torch.ones(1, 12, dtype=torch.bool, device=device))
    windows = torch.randn(
        1, 1, 13 if isinstance(network, LongCat) else 16, audio.audio_window, audio.audio_block, 16
    ).to(device)
    with torch.inference_mode():
        noisy = torch.randn(1, 4, 5, 4, 4).to(device)
        return network(noisy, sigma, Conditioning(text, text, windows), LAYOUT, cache)


def files_of(network: Any, folder: Path, dtype: torch.dtype = torch.float32) -> list[Path]:
    state = {
        name: value.to(dtype) if value.is_floating_point() else value for name, value in network.state_dict().items()
    }
    names, half = list(state), len(state) // 2
    for part, chosen in (("a", names[:half]), ("b", names[half:])):  # a block may lie in two files
        save_file({name: state[name] for name in chosen}, folder / f"{part}.safetensors")
    return sorted(folder.glob("*.safetensors"))


def stored(files: Iterable[Path], prefix: str = "blocks.") -> FiledBlocks:
    """The blocks in files, under the names they have there."""
    return FiledBlocks.placed({name: (path, name) for path in files for name in read_headers([path])}, prefix)


def written(blocks: nn.ModuleList, folder: Path) -> FiledBlocks:
    """The blocks as they are now, a file for each."""
    folder.mkdir(exist_ok=True)
    for index, block in enumerate(blocks):
        save_file(
            {f"blocks.{index}.{name}": value for name, value in block.state_dict().items()},
            folder / f"{index:03}.safetensors",
        )
    return stored(sorted(folder.glob("*.safetensors")))


@pytest.mark.parametrize("params", [PARAMS, SOUL_PARAMS], ids=["longcat", "soul"])
@pytest.mark.parametrize("where", ["held", "found", "written"])
def test_the_velocity_stays_the_same_to_the_bit(params: Any, where: str, tmp_path: Path) -> None:
    network = backbone(params)
    expected, expected_later = velocity(network), velocity(network, ClipCache())
    stores: dict[str, BlockStore] = {
        "held": HeldBlocks(network.blocks, pinned=False),
        "found": stored(files_of(network, tmp_path)),
        "written": written(network.blocks, tmp_path / "blocks"),
    }
    offload_blocks(network, "cpu", store=stores[where])
    assert torch.equal(velocity(network), expected)
    assert torch.equal(velocity(network, ClipCache()), expected_later)


def test_small_weights_and_weights_of_another_type_come_as_they_were(tmp_path: Path) -> None:
    network = to_int8(backbone().bfloat16())
    expected = velocity(network)
    offload_blocks(network, "cpu", store=stored(files_of(network, tmp_path)))
    assert torch.equal(velocity(network), expected)
    halved = backbone().half().float()
    expected = velocity(halved)
    offload_blocks(halved, "cpu", store=stored(files_of(halved, tmp_path, torch.float16)))
    assert torch.equal(velocity(halved), expected)
    assert halved.blocks[0].attn.qkv.weight.dtype == torch.float16, "waiting as stored"


def test_what_the_files_do_not_hold_stays(tmp_path: Path) -> None:
    """As an adapter that was attached after reading."""
    network = backbone()
    store = stored(files_of(network, tmp_path))
    network.blocks[1].ffn.w2.register_parameter("bias", nn.Parameter(torch.ones(32), requires_grad=False))
    expected = velocity(network)
    offload_blocks(network, "cpu", store=store)
    assert torch.equal(velocity(network), expected)


def test_blocks_rest_in_their_files_between_and_also_after_a_failure(tmp_path: Path) -> None:
    network = backbone()
    offload = offload_blocks(network, "cpu", store=stored(files_of(network, tmp_path)))
    seen = []
    network.blocks[1].register_forward_pre_hook(lambda *_: seen.append(network.blocks[1].ffn.w1.weight))
    resting = network.blocks[1].ffn.w1.weight
    expected = velocity(network)
    assert seen[0].data_ptr() not in {resting.data_ptr(), network.blocks[1].ffn.w1.weight.data_ptr()}
    failing = network.blocks[1].register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        velocity(network)
    failing.remove()
    assert torch.equal(velocity(network), expected)
    offload.remove()
    assert torch.equal(velocity(network), expected)


def test_a_text_encoder_has_blocks_of_another_name() -> None:
    text = tiny_networks().text
    expected = text(["a man"]).tokens
    offload_blocks(text, "cpu", blocks=text.network.encoder.block)
    assert torch.equal(text(["a man"]).tokens, expected)
    with pytest.raises(ConfigError, match="TextEncoder has no blocks"):
        offload_blocks(text, "cpu")


def test_nothing_of_a_network_stays_where_it_ran(tmp_path: Path) -> None:
    """What is in no block waits in the files too; a tensor of two names is brought once."""
    text = tiny_networks().text
    expected = text(["a man"]).tokens
    names = [name for name in text.state_dict() if not name.startswith("network.encoder.embed_tokens")]
    save_file({name: text.state_dict()[name] for name in names}, tmp_path / "text.safetensors")
    prefix = "network.encoder.block."
    places = {name: (tmp_path / "text.safetensors", name) for name in names}
    places["network.encoder.embed_tokens.weight"] = places["network.shared.weight"]
    store, rest = FiledBlocks.placed(places, prefix), FiledBlocks.beside(places, prefix)
    offload_blocks(text, "cpu", blocks=text.network.encoder.block, store=store, rest=rest)
    resting = {name: value.data_ptr() for name, value in text.state_dict().items()}
    running: dict[str, int] = {}
    text.network.encoder.register_forward_pre_hook(
        lambda *_: running.update({name: value.data_ptr() for name, value in text.state_dict().items()})
    )
    assert torch.equal(text(["a man"]).tokens, expected)
    outside = [name for name in running if not name.startswith(prefix)]
    assert outside
    assert not {running[name] for name in outside} & set(resting.values())
    assert running["network.shared.weight"] == running["network.encoder.embed_tokens.weight"]
    assert not set(running.values()) & {
        value.data_ptr() for name, value in text.state_dict().items() if name in outside
    }


def test_what_cannot_be_done_is_refused(tmp_path: Path) -> None:
    network = backbone()
    files = files_of(network, tmp_path)
    with pytest.raises(WeightsError, match=r"hold the blocks \[\] under 'layers.'"):
        stored(files, "layers.")
    store = stored(files)
    with pytest.raises(WeightsError, match=r"do not fit it: .*attn1"):
        offload_blocks(network, "cpu", store=stored(files_of(backbone(SOUL_PARAMS), tmp_path)))
    with pytest.raises(ConfigError, match=r"blocks\..* is to be trained"):
        offload_blocks(network.requires_grad_(True), "cpu", store=store)
    files[0].write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="cannot read"):
        store.waiting(0)


LARGE = replace(PARAMS.backbone, hidden_size=640, depth=6, num_heads=4, adaln_tembed_dim=256)
ACTIVATIONS = 2 * 2**20  # of 5 frames of 4 tokens
MEASURED = """
import json, sys
from pathlib import Path
import torch
from enliven.models.longcat import LongCat
from enliven.models.weights import load_weights
from enliven.runtime.offload import offload_blocks
from test_offload import LARGE, memory, stored, velocity

folder = Path(sys.argv[1])
found = {}
for name in ("resident", "offloaded"):
    network = load_weights(lambda: LongCat(LARGE), folder)
    if name == "offloaded":
        offload_blocks(network, "cpu", store=stored(folder.glob("*.safetensors")))
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak
    before = memory("VmRSS")
    found[name + " velocity"] = velocity(network).double().sum().item()
    found[name] = memory("VmHWM") - before
    del network
print(json.dumps(found))
"""


def memory(kind: str) -> int:
    """Bytes of memory of this process: what it has (VmRSS), or the most it ever had (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="this system does not tell peaks of memory")
def test_no_more_than_the_largest_block_and_what_it_computes_is_in_memory(tmp_path: Path) -> None:
    with torch.device("meta"):
        network = LongCat(LARGE)
    state = {name: torch.full(value.shape, 0.01) for name, value in network.state_dict().items()}
    save_file(state, tmp_path / "model.safetensors")
    largest = max(sum(value.numel() * 4 for value in block.state_dict().values()) for block in network.blocks)
    whole = sum(value.nbytes for value in state.values())
    here = Path(__file__).resolve().parent
    places = [here.parents[1] / "src", here.parent, here]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, places)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MEASURED, str(tmp_path)]
    found = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, env=env).stdout)
    sys.stdout.write(f"largest block {largest}, whole {whole}, {found}\n")
    assert found["offloaded velocity"] == found["resident velocity"]
    assert found["resident"] > 0.9 * whole
    assert found["offloaded"] <= 1.3 * (largest + ACTIVATIONS)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("where", ["held", "written"])
def test_on_a_gpu_two_blocks_are_there_at_most(where: str, tmp_path: Path) -> None:
    network = nn.Module()
    network.blocks = nn.ModuleList(nn.Linear(2048, 2048) for _ in range(12))
    network.requires_grad_(False)
    x = torch.randn(64, 2048, device="cuda")
    with torch.inference_mode():
        expected = x
        for block in network.cuda().blocks:
            expected = block(expected)
        network.cpu()
        store = written(network.blocks, tmp_path) if where == "written" else None
        offload_blocks(network, "cuda", store=store)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        for _ in range(3):
            y = x
            for block in network.blocks:
                y = block(y)
            assert torch.equal(y, expected)
    block_bytes = 2048 * 2049 * 4
    assert torch.cuda.max_memory_allocated() - before < 2.2 * block_bytes


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_nothing_of_a_text_encoder_stays(tmp_path: Path) -> None:
    text = tiny_networks().text
    expected = text(["a man"]).tokens
    state = {name: value.clone() for name, value in text.state_dict().items()}
    save_file(state, tmp_path / "text.safetensors")
    places, prefix = {name: (tmp_path / "text.safetensors", name) for name in state}, "network.encoder.block."
    store, rest = FiledBlocks.placed(places, prefix), FiledBlocks.beside(places, prefix)
    before = torch.cuda.memory_allocated()
    offload_blocks(text, "cuda", blocks=text.network.encoder.block, store=store, rest=rest)
    for _ in range(2):
        read = text(["a man"]).tokens
        assert read.is_cuda
        assert torch.allclose(read.cpu(), expected, atol=1e-5)
        del read
        assert torch.cuda.memory_allocated() - before < 2**16
