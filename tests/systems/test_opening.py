"""A published folder is pointed at, and talks: in miniature, in the real layout."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from enliven.diffusion.clips import ClipGeometry
from enliven.errors import ConfigError, RequestError, WeightsError
from enliven.models.codebook import Codebook, CodebookParams, save_codebook
from enliven.models.fp8 import Fp8Linear
from enliven.models.int8 import Int8Linear
from enliven.models.lora import Adapter
from enliven.models.networks import fingerprint, save_networks
from enliven.pipeline import AvatarPipeline
from enliven.request import GenerateRequest
from enliven.runtime.attention import CrossAttend, SelfAttend
from enliven.runtime.choices import Choices, DtypeChoice
from enliven.runtime.kernel_plain import matmul
from enliven.runtime.machine import Machine
from enliven.runtime.memory import GIB, plan_memory
from enliven.systems import MODELS, choose_model, opening
from enliven.systems.opening import Opening, open_model
from published_folders import write_all, write_json, write_lora
from tiny import tiny_networks, tiny_soul, tiny_soul_networks, tiny_spec, write_portrait, write_speech

OLD, NEW = "LongCat-Video-Avatar", "LongCat-Video-Avatar-1.5"
FOLDERS = {"longcat": OLD, "longcat-multi": OLD, "longcat-1.5": NEW, "longcat-1.5-int8": NEW}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    write_all(folder)
    return folder


@pytest.fixture
def place(written: Path, tmp_path: Path) -> Path:
    """A copy that may be spoilt."""
    return Path(shutil.copytree(written, tmp_path / "published"))


def adapters(pipeline: AvatarPipeline) -> list[Adapter]:
    return [module for module in pipeline.networks.backbone.modules() if isinstance(module, Adapter)]


@pytest.mark.parametrize("model", FOLDERS)
def test_a_published_folder_talks(model: str, written: Path, tmp_path: Path) -> None:
    """Shorter clips of small pictures; all else is as published, and a second clip goes on from the first."""
    loaded = AvatarPipeline.load(model, Choices(weights=written / FOLDERS[model]), device="cpu")
    spec = loaded.spec
    assert spec == MODELS[model]
    short = replace(spec, geometry=ClipGeometry(17, 5, spec.geometry.fps), choose_size=None, size=(32, 32), steps=2)
    pipeline = AvatarPipeline(short, loaded.networks)
    sound, face = write_speech(tmp_path / "speech.wav", 1.0), write_portrait(tmp_path / "me.png")
    video = pipeline.generate(GenerateRequest(audio=(sound,), portrait=face, prompt="a man talks", seconds=18 / 16))
    assert video.frames.shape == (round(18 / 16 * spec.geometry.fps), 3, 32, 32)
    assert len(video.frames) > 17, "there is a seam"
    assert video.frames.float().std() > 1
    dtypes = {value.dtype for value in loaded.networks.backbone.parameters()}
    assert dtypes == {torch.bfloat16}
    layers = [layer for layer in loaded.networks.backbone.modules() if isinstance(layer, Int8Linear)]
    assert bool(layers) == (model == "longcat-1.5-int8")


def test_speech_is_heard_through_a_published_folder(written: Path, tmp_path: Path) -> None:
    pipeline = AvatarPipeline.load(choices=Choices(weights=written / NEW), device="cpu")
    short = replace(pipeline.spec, geometry=ClipGeometry(9, 1, 25), choose_size=None, size=(32, 32), steps=1)
    heard = AvatarPipeline(short, pipeline.networks)
    sound, face = write_speech(tmp_path / "speech.wav", 1.0), write_portrait(tmp_path / "me.png")
    silent = GenerateRequest(portrait=face, seconds=0.36)
    clips = [
        next(heard.clips(short, heard.encode(request, short), 0)).clip.latents
        for request in (silent, replace(silent, audio=(sound,)))
    ]
    assert (clips[0] - clips[1]).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("folder", "left", "model"),
    [
        (OLD, ("avatar_single", "avatar_multi"), "longcat"),
        (OLD, ("avatar_multi",), "longcat-multi"),
        (NEW, ("base_model", "base_model_int8"), "longcat-1.5"),
        (NEW, ("base_model_int8",), "longcat-1.5-int8"),
    ],
)
def test_a_folder_tells_its_model(tmp_path: Path, folder: str, left: tuple[str, ...], model: str) -> None:
    for name in left:
        (tmp_path / "renamed" / name).mkdir(parents=True)
    assert choose_model(None, tmp_path / "renamed").name == model


def test_the_folder_knows_the_shift(place: Path) -> None:
    write_json(place / NEW / "scheduler" / "scheduler_config.json", {"shift": 3.0})
    spec = open_model("longcat-1.5-undistilled", Choices(weights=place / NEW)).spec
    assert spec.schedule(50)[1] == pytest.approx(3 * 0.979612 / (1 + 2 * 0.979612), abs=1e-5)
    assert spec.continuation_schedule is not None
    assert spec.continuation_schedule(50)[1] == spec.schedule(50)[1]


def test_the_distillation_lora_is_attached_and_expressiveness_is_its_strength(written: Path) -> None:
    full = AvatarPipeline.load("longcat-1.5", Choices(weights=written / NEW), device="cpu")
    half = AvatarPipeline.load("longcat-1.5", Choices(weights=written / NEW, expressiveness=0.5), device="cpu")
    bare = AvatarPipeline.load("longcat-1.5-undistilled", Choices(weights=written / NEW), device="cpu")
    assert half.choices == Choices(weights=(written / NEW).resolve(), expressiveness=0.5)
    assert [adapter.strength for adapter in adapters(full)] == [1.0, 1.0]
    assert [adapter.strength for adapter in adapters(half)] == [0.5, 0.5]
    assert not adapters(bare)
    assert len({fingerprint(pipeline.networks) for pipeline in (full, half, bare)}) == 3


def test_other_loras_add_to_it(written: Path, tmp_path: Path) -> None:
    path = write_lora(tmp_path / "style.safetensors", {"blocks.0.ffn.w1": (256, 64, 1)})
    choices = Choices(weights=written / NEW, loras=(f"{path}:0.25", str(path)))
    pipeline = AvatarPipeline.load(choices=choices, device="cpu")
    assert sorted(adapter.strength for adapter in adapters(pipeline)) == [0.25, 1.0, 1.0, 1.0]


def test_a_lora_that_is_missing_is_an_error(place: Path) -> None:
    """The published code goes on without it, and shows noise."""
    with pytest.raises(WeightsError, match=r"no LoRA at .*style"):
        open_model("longcat-1.5", Choices(weights=place / NEW, loras=("style.safetensors:2",)))
    (place / NEW / "lora" / "dmd_lora.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"no LoRA at .*dmd_lora"):
        open_model("longcat-1.5", Choices(weights=place / NEW))
    open_model("longcat-1.5-undistilled", Choices(weights=place / NEW))


def test_a_lora_of_another_model_is_told_before_any_is_read(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "read_lora", lambda path: pytest.fail(f"{path} was read"))
    deep = write_lora(tmp_path / "deep.safetensors", {"blocks.7.attn.qkv": (192, 64, 3)})
    wide = write_lora(tmp_path / "wide.safetensors", {"blocks.0.ffn.w1": (256, 65, 1)})
    for path, told in ((deep, "are not in this network"), (wide, "have another size here")):
        for model in ("longcat-1.5", "longcat-1.5-int8"):
            with pytest.raises(WeightsError, match=rf"1 of 1 layers of the LoRA {path} {told}"):
                open_model(model, Choices(weights=written / NEW, loras=(str(path),)))


def test_expressiveness_needs_a_distilled_model_and_a_number(written: Path) -> None:
    with pytest.raises(RequestError, match="longcat has no expressiveness"):
        open_model("longcat", Choices(weights=written / OLD, expressiveness=0.5))
    with pytest.raises(RequestError, match="longcat-video-fast has no expressiveness"):
        open_model("longcat-video-fast", Choices(weights=written / "LongCat-Video", expressiveness=0.5))
    with pytest.raises(ConfigError, match="strength nan"):
        open_model("longcat-1.5", Choices(weights=written / NEW, expressiveness=float("nan")))


def test_models_and_folders_that_do_not_belong_together_are_told_apart(written: Path, tmp_path: Path) -> None:
    with pytest.raises(
        RequestError, match=r"holds LongCat-Video-Avatar-1.5, which is not what .* longcat runs"
    ) as wrong:
        choose_model("longcat", written / NEW)
    assert wrong.value.hint == "choose longcat-1.5 or longcat-1.5-int8 or longcat-1.5-undistilled"
    with pytest.raises(RequestError, match="longcat-toon"):
        choose_model("longcat-toon", written / OLD)
    with pytest.raises(RequestError, match="holds LongCat-Video, which is not what") as deaf:
        choose_model("longcat-1.5", written / "LongCat-Video")
    assert deaf.value.hint == "choose longcat-video or longcat-video-fast or longcat-video-720p"
    with pytest.raises(WeightsError, match="a part of a model") as part:
        choose_model(None, written / NEW / "base_model")
    assert str(written / NEW) in part.value.hint
    with pytest.raises(WeightsError, match="no model at"):
        choose_model(None, tmp_path / "nothing")
    save_networks(tiny_soul_networks(), tmp_path / "other")
    with pytest.raises(RequestError, match="a network, which is not what the model longcat-toon runs on"):
        choose_model("longcat-toon", tmp_path / "other")
    with pytest.raises(RequestError, match="is of the size of no model"):
        choose_model(None, tmp_path / "other")


def test_the_variant_of_the_model_is_asked_for(place: Path) -> None:
    shutil.rmtree(place / NEW / "base_model_int8")
    with pytest.raises(WeightsError, match=r"the variant int8 of LongCat-Video-Avatar-1.5 is not in"):
        open_model("longcat-1.5-int8", Choices(weights=place / NEW))


def test_the_base_may_lie_elsewhere(place: Path, tmp_path: Path) -> None:
    base = (place / "LongCat-Video").rename(tmp_path / "shared")
    with pytest.raises(WeightsError, match="text encoder of LongCat-Video are not in") as missing:
        AvatarPipeline.load(choices=Choices(weights=place / NEW), device="cpu")
    assert "--base FOLDER" in missing.value.hint
    with pytest.raises(WeightsError, match=r"are not in .*published"):
        AvatarPipeline.load(choices=Choices(weights=place / NEW, base=place), device="cpu")
    pipeline = AvatarPipeline.load(choices=Choices(weights=place / NEW, base=base), device="cpu")
    assert pipeline.choices.given == {"weights": (place / NEW).resolve(), "base": base.resolve()}
    save_networks(pipeline.networks, tmp_path / "saved")
    with pytest.raises(RequestError, match="has its own autoencoder and text encoder"):
        AvatarPipeline.load("longcat-1.5-undistilled", Choices(weights=tmp_path / "saved", base=base), device="cpu")


def test_what_is_published_small_cannot_be_had_large(written: Path) -> None:
    with pytest.raises(RequestError, match=r"longcat-1\.5-int8 is published in int8"):
        open_model("longcat-1.5-int8", Choices(weights=written / NEW, quantise="none"))


def test_what_is_published_in_one_kind_of_eight_bits_cannot_be_had_in_the_other(written: Path) -> None:
    with pytest.raises(RequestError, match=r"longcat-1\.5-int8 is published in int8"):
        open_model("longcat-1.5-int8", Choices(weights=written / NEW, quantise="fp8"))


def test_fp8_is_refused_where_a_device_has_none_of_it(written: Path) -> None:
    with pytest.raises(RequestError, match="mps has no numbers of fp8") as refused:
        open_model("longcat-1.5", Choices(weights=written / NEW, quantise="fp8"), device="mps")
    assert refused.value.hint == "choose --quantise int8"


@pytest.mark.parametrize("weighed", [0, opening.SMALL])
def test_fp8_is_opened_by_name_in_any_memory(written: Path, weighed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "SMALL", weighed)
    found = open_model("longcat-1.5", Choices(weights=written / NEW, quantise="fp8"))
    assert found.execution.plan.quantise == found.choices.quantise == "fp8"
    layers = [layer for layer in found.load().backbone.modules() if isinstance(layer, Fp8Linear)]
    assert len(layers) > 2 * 10


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The smallest model, which is weighed nevertheless."""
    monkeypatch.setitem(MODELS, "tiny", tiny_spec())
    monkeypatch.setattr(opening, "SMALL", 0)
    save_networks(tiny_networks(), tmp_path / "tiny")
    return tmp_path / "tiny"


def test_a_model_is_planned_for_the_memory_there_is(
    saved: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def opened(machine: Machine, **choices: Any) -> Opening:
        monkeypatch.setattr(opening, "this_machine", lambda device: machine)
        return open_model(None, Choices(weights=saved, **choices))

    roomy = opened(Machine(GIB))
    assert roomy.needs is not None
    assert not roomy.execution.plan.offload
    assert roomy.choices.quantise == "none", "so that it resumes in the same numbers"
    everything = roomy.execution.plan.needed
    tight = opened(Machine(everything))
    assert tight.execution.plan.offload or tight.execution.plan.release_text
    with pytest.raises(RequestError, match=r"tiny takes .* GiB on cpu, and there are") as refused:
        opened(Machine(everything // 100))
    assert "--memory low" in refused.value.hint
    with pytest.raises(RequestError, match="tiny takes"):
        opened(Machine(GIB), memory=everything / GIB / 100)
    assert not caplog.records
    opened(Machine(everything // 100), memory="low")
    assert "it is tried as asked" in caplog.text


@pytest.fixture
def saved_soul(saved: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same of Soul, whose weights cannot be read: whoever tries fails in another way."""
    folder = saved.with_name("tiny-soul")
    monkeypatch.setitem(MODELS, "tiny-soul", tiny_soul(decoder="efficient"))
    save_networks(tiny_soul_networks(), folder)
    for path in folder.glob("*/*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    return folder


def test_a_large_model_opens_without_a_tensor_that_is_read(saved_soul: Path) -> None:
    found = open_model(None, Choices(weights=saved_soul))
    with pytest.raises(WeightsError):
        found.load()


@pytest.mark.parametrize(
    ("part", "error", "told"),
    [
        ("codebook", WeightsError, "has no codebook"),
        ("autoencoder-efficient", RequestError, "has no decoder 'efficient'"),
    ],
)
def test_what_a_large_model_lacks_is_told_before_it_is_read(
    saved_soul: Path, part: str, error: type[Exception], told: str
) -> None:
    shutil.rmtree(saved_soul / part)
    with pytest.raises(error, match=told):
        open_model(None, Choices(weights=saved_soul))
    with pytest.raises(error, match=told):
        AvatarPipeline.load(None, Choices(weights=saved_soul), device="cpu")


def test_what_a_large_model_lacks_for_a_request_is_told_before_it_is_read(saved_soul: Path) -> None:
    request = GenerateRequest(seconds=0.2, decoder="best")
    with pytest.raises(RequestError, match="has no decoder 'best'"):
        AvatarPipeline.load(None, Choices(weights=saved_soul), device="cpu", request=request)
    with pytest.raises(WeightsError, match="cut short"):
        AvatarPipeline.load(None, Choices(weights=saved_soul), device="cpu", request=replace(request, decoder="full"))


def test_a_large_model_of_several_is_told_before_it_is_read(saved_soul: Path) -> None:
    save_codebook(Codebook(CodebookParams(size=1, channels=5)), saved_soul / "codebook")
    with pytest.raises(WeightsError, match="the codebook beside it for latents of 5 channels"):
        open_model(None, Choices(weights=saved_soul))


def test_loras_are_weighed_too(saved: Path, tmp_path: Path) -> None:
    bare = open_model(None, Choices(weights=saved)).needs
    path = write_lora(tmp_path / "style.safetensors", {"blocks.0.ffn.w1": (256, 32, 1)})
    worn = open_model(None, Choices(weights=saved, loras=(str(path),))).needs
    assert bare is not None
    assert worn is not None
    assert worn.parts["backbone"].parameters - bare.parts["backbone"].parameters == 2 * (256 + 32)
    assert worn.parts["backbone"].exact - bare.parts["backbone"].exact == 2 * (256 + 32), "they never become small"


def test_numbers_stay_when_a_run_is_opened_on_another_machine(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that only int8 fits, whose host cannot hold the blocks; then one where everything would."""
    needs = open_model(None, Choices(weights=saved)).needs
    assert needs is not None
    whole = 2 * plan_memory(needs, Machine(1, GIB), "full").needed
    gpus = (Machine(1, size) for size in range(whole, 0, -whole // 1000))
    tight = next(gpu for gpu in gpus if plan_memory(needs, gpu).quantise == "int8")
    monkeypatch.setattr(opening, "this_machine", lambda device: tight)
    first = open_model(None, Choices(weights=saved))
    assert first.execution.plan.quantise == "int8"
    monkeypatch.setattr(opening, "this_machine", lambda device: Machine(GIB, GIB))
    assert open_model(None, Choices(weights=saved)).execution.plan.quantise == "none"
    again = open_model("tiny", Choices(**first.choices.given))
    assert again.execution.plan.quantise == "int8"
    assert fingerprint(again.load()) == fingerprint(first.load())


def test_a_small_model_keeps_its_numbers_in_any_memory(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins whole; with little memory it may come and go, but is not made small unasked."""
    needs = open_model(None, Choices(weights=saved)).needs
    assert needs is not None
    gpu = Machine(GIB, GIB)
    assert plan_memory(needs, gpu, "low").quantise == "int8"
    monkeypatch.setattr(opening, "SMALL", GIB)
    monkeypatch.setattr(opening, "this_machine", lambda device: gpu)
    begun, resumed = (open_model(None, Choices(weights=saved, memory=memory)) for memory in ("auto", "low"))
    assert begun.needs is None
    assert resumed.needs is not None
    assert begun.execution.plan.quantise == resumed.execution.plan.quantise == "none"
    asked = open_model(None, Choices(weights=saved, memory="low", quantise="int8"))
    assert asked.execution.plan.quantise == "int8"


def test_published_folders_are_found_where_the_environment_says(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENLIVEN_WEIGHTS", str(written))
    assert {name: MODELS[name].weights for name in FOLDERS} == {name: written / FOLDERS[name] for name in FOLDERS}
    monkeypatch.setenv("ENLIVEN_WEIGHTS", str(written / OLD))
    with pytest.raises(WeightsError, match=r"longcat-1.5-int8 are not here") as missing:
        _ = MODELS["longcat-1.5-int8"].weights
    assert "enliven models download LongCat-Video-Avatar-1.5 --variant int8" in missing.value.hint


def test_a_folder_saved_here_tells_its_model_by_its_sizes_or_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODELS, "tiny-soul", tiny_soul())
    save_networks(tiny_soul_networks(), tmp_path / "mine")
    assert choose_model(None, tmp_path / "mine").name == "tiny-soul"
    save_networks(tiny_networks(), tmp_path / "longcat-toon")
    assert choose_model(None, tmp_path / "longcat-toon").name == "longcat-toon"
    assert choose_model("longcat-1.5", tmp_path / "longcat-toon").name == "longcat-1.5", "of its kind, in any size"


@pytest.mark.parametrize(("dtype", "expected"), [("auto", torch.float32), ("bfloat16", torch.bfloat16)])
def test_only_backbone_and_text_encoder_may_be_smaller(
    tmp_path: Path, dtype: DtypeChoice, expected: torch.dtype
) -> None:
    save_networks(tiny_networks(), tmp_path)
    pipeline = AvatarPipeline.load("longcat-toon", Choices(weights=tmp_path, dtype=dtype), device="cpu")
    dtypes = {name: next(network.parameters()).dtype for name, network in pipeline.networks.parts.items()}
    assert dtypes == {"backbone": expected, "text": expected, "autoencoder": torch.float32, "audio": torch.float32}
    spec = replace(pipeline.spec, geometry=ClipGeometry(9, 1, 25), size=(32, 32), steps=1)
    video = AvatarPipeline(spec, pipeline.networks).generate(GenerateRequest(seconds=0.2))
    assert video.frames.float().std() > 0


def test_the_chosen_kernel_attends_everywhere_in_the_backbone(written: Path) -> None:
    chosen = AvatarPipeline.load("longcat", Choices(weights=written / OLD, attention="matmul"), device="cpu")
    leaves = [leaf for leaf in chosen.networks.backbone.modules() if isinstance(leaf, SelfAttend | CrossAttend)]
    assert leaves
    assert all(leaf.kernel is matmul for leaf in leaves)
    assert chosen.choices.given["attention"] == "matmul", "so that it goes on in the same numbers"


def test_a_kernel_that_cannot_be_had_is_told_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'flesh'"):
        open_model(None, Choices(weights=tmp_path / "nothing is here", attention="flesh"))
