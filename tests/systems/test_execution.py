"""Every way of running a model makes the same video, and those that save memory do."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from torch import Tensor

from enliven.diffusion.clips import ClipGeometry
from enliven.models.fp8 import Fp8Linear
from enliven.models.int8 import Int8Linear
from enliven.models.longcat import LongCat, LongCatParams
from enliven.models.networks import fingerprint
from enliven.models.quantised import QuantisedLinear
from enliven.models.text import TextEncoder, TextParams
from enliven.pipeline import AvatarPipeline
from enliven.request import GenerateRequest
from enliven.runtime.choices import Choices
from enliven.runtime.memory import EIGHT_BITS, MemoryPlan, Quantise
from enliven.systems.execution import SHRINK, Execution
from enliven.systems.opening import Opening, open_model
from published_folders import CONFIGS, SMALL_HEARING, TEXT, text_sizes, write_all, write_sharded
from tiny import write_portrait, write_speech

WHOLE = MemoryPlan("bfloat16")
STREAMED = replace(WHOLE, release_text=True, stream_decoder=True)
HELD = replace(STREAMED, offload=True)
MAPPED = replace(HELD, held=False)
PLANS = {"streamed": STREAMED, "held": HELD, "mapped": MAPPED, "without keys": replace(MAPPED, cache=False)}
KINDS = {"int8": Int8Linear, "fp8": Fp8Linear}
MODEL, FOLDER = "longcat-1.5", "LongCat-Video-Avatar-1.5"  # with a LoRA beside its layers


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    write_all(folder)
    return folder


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> GenerateRequest:
    folder = tmp_path_factory.mktemp("inputs")
    sound, face = write_speech(folder / "speech.wav", 1.0), write_portrait(folder / "me.png")
    return GenerateRequest(audio=(sound,), portrait=face, prompt="a man talks", seconds=0.8)


def opened(folder: Path, plan: MemoryPlan, model: str = MODEL) -> Opening:
    """Short clips of small pictures; a second one goes on from the first."""
    found = open_model(model, Choices(weights=folder))
    short = replace(found.spec, geometry=ClipGeometry(17, 5, 25), choose_size=None, size=(32, 32), steps=2)
    return replace(found, spec=short, execution=Execution("cpu", plan))


def made(pipeline: AvatarPipeline, inputs: GenerateRequest) -> Tensor:
    return pipeline.generate(inputs).frames


@pytest.fixture(scope="module")
def whole(written: Path) -> AvatarPipeline:
    return AvatarPipeline.opened(opened(written / FOLDER, WHOLE))


@pytest.fixture(scope="module")
def expected(whole: AvatarPipeline, inputs: GenerateRequest) -> Tensor:
    return made(whole, inputs)


@pytest.mark.parametrize("name", PLANS)
def test_the_video_stays_the_same(
    name: str, written: Path, whole: AvatarPipeline, expected: Tensor, inputs: GenerateRequest
) -> None:
    pipeline = AvatarPipeline.opened(opened(written / FOLDER, PLANS[name]))
    assert fingerprint(pipeline.networks) == fingerprint(whole.networks)
    frames = made(pipeline, inputs)
    assert (frames.int() - expected.int()).abs().max() <= (0 if PLANS[name].cache else 1)
    assert torch.equal(made(pipeline, inputs), frames), "and again, though its text encoder was gone"


@pytest.mark.parametrize("small", EIGHT_BITS)
def test_weights_are_made_small_before_they_are_put_away(
    small: Quantise, written: Path, whole: AvatarPipeline, expected: Tensor, inputs: GenerateRequest
) -> None:
    plans = [replace(PLANS[name], quantise=small) for name in ("streamed", "held")]
    streamed, held = (AvatarPipeline.opened(opened(written / FOLDER, plan)) for plan in plans)
    layers = [layer for layer in held.networks.backbone.modules() if isinstance(layer, QuantisedLinear)]
    assert len(layers) > 2 * 10
    assert {type(layer) for layer in layers} == {KINDS[small]}
    assert fingerprint(held.networks) == fingerprint(streamed.networks) != fingerprint(whole.networks)
    frames = made(held, inputs)
    assert torch.equal(frames, made(streamed, inputs))
    assert (frames.float() - expected.float()).abs().mean() < 1


def test_every_kind_of_small_weights_that_can_be_planned_can_be_made() -> None:
    assert set(SHRINK) == set(EIGHT_BITS)


def test_weights_that_were_published_small_come_and_go_as_they_are(written: Path, inputs: GenerateRequest) -> None:
    plans = (replace(WHOLE, quantise="int8"), replace(MAPPED, quantise="int8"))
    resident, mapped = (AvatarPipeline.opened(opened(written / FOLDER, plan, "longcat-1.5-int8")) for plan in plans)
    assert torch.equal(made(resident, inputs), made(mapped, inputs))


WIDE = {
    **{"hidden_size": 1024, "depth": 8, "num_heads": 8, "caption_channels": 512, "adaln_tembed_dim": 128},
    "frequency_embedding_size": 64,
}
WORDS = TEXT | {"d_model": 512, "d_kv": 64, "d_ff": 1280, "num_layers": 8, "num_heads": 8, "vocab_size": 20_000}
BESIDE = 48 * 2**20  # what is in no block, and what is computed of 2 latents of 4 tokens


def write_wide(folder: Path, small: Path) -> int:
    """Version 1.0 in a quarter of its width, with the other networks of the small one. Bytes of its largest block."""
    shutil.copytree(small, folder)
    config = CONFIGS["avatar_1.0"] | WIDE | SMALL_HEARING | {"audio_channel": 24}
    with torch.device("meta"):
        backbone = LongCat(LongCatParams.from_config(config))
        text = TextEncoder(TextParams(512, {name: WORDS[name] for name in text_sizes()}), Tokenizer(BPE()))
    for place, sizes, network, name in (
        ("LongCat-Video-Avatar/avatar_single", config, backbone, "diffusion_pytorch_model"),
        ("LongCat-Video/text_encoder", WORDS, text, "model"),
    ):
        shutil.rmtree(folder / place)
        state = {key.removeprefix("network."): value for key, value in network.state_dict().items()}
        state.pop("encoder.embed_tokens.weight", None)
        filled = {key: torch.full(value.shape, 0.01, dtype=torch.bfloat16) for key, value in state.items()}
        write_sharded(folder / place, sizes, filled, 3, name)
    return max(sum(2 * value.numel() for value in block.parameters()) for block in backbone.blocks)


def memory(kind: str) -> int:
    """Bytes of memory of this process: what it has (VmRSS), or the most it ever had (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))


def measured(folder: Path, plan: MemoryPlan) -> tuple[int, float]:
    """The most memory this process has while a model is loaded and makes a clip, and a number that the clip gives."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak
    pipeline = AvatarPipeline.opened(opened(folder / "LongCat-Video-Avatar", plan, "longcat"))
    spec = replace(pipeline.spec, geometry=ClipGeometry(5, 1, 16), steps=1)
    request = GenerateRequest(prompt="a man talks", seconds=5 / 16)
    (clip,) = pipeline.clips(spec, pipeline.encode(request, spec), 0)
    return memory("VmHWM"), clip.clip.latents.double().sum().item()


MEASURED = """
import json, sys
from pathlib import Path
from test_execution import MAPPED, WHOLE, measured

small, wide = map(Path, sys.argv[1:])
for _ in range(2):  # the first time loads libraries; what a system has taken back of them comes again the second time
    least, _ = measured(small, MAPPED)
mapped = min(measured(wide, MAPPED) for _ in range(2))  # what the system does meanwhile can only add
runs = {"mapped": mapped, "whole": measured(wide, WHOLE)}
print(json.dumps({name: (most - least, number) for name, (most, number) in runs.items()}))
"""


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="this system does not tell peaks of memory")
def test_a_whole_model_takes_no_more_than_a_block_and_what_it_computes(written: Path, tmp_path: Path) -> None:
    largest = write_wide(tmp_path / "wide", written)
    files = (tmp_path / "wide" / "LongCat-Video-Avatar" / "avatar_single").glob("*.safetensors")
    backbone = sum(path.stat().st_size for path in files)
    here = Path(__file__).resolve().parent
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (here.parents[1] / "src", here.parent, here)))}
    command = [sys.executable, "-c", MEASURED, str(written), str(tmp_path / "wide")]
    told = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=env | {"OMP_NUM_THREADS": "1"}).stdout
    found = json.loads(told)
    sys.stdout.write(f"largest block {largest}, backbone {backbone}, {found}\n")
    assert found["mapped"][1] == found["whole"][1]
    assert found["whole"][0] > 0.9 * backbone
    assert found["mapped"][0] <= 1.3 * (largest + BESIDE)
    assert backbone > 2 * 1.3 * (largest + BESIDE)
