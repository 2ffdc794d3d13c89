"""Published folders, opened unchanged: in miniature with weights, at full size with headers."""

import json
import resource
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from enliven.errors import ConfigError, WeightsError
from enliven.models.audio import SpeechFeatures
from enliven.models.int8 import Int8Linear, skipped_layers, to_int8
from enliven.models.longcat import LongCat, LongCatParams
from enliven.models.networks import fingerprint, load_networks
from enliven.models.published import Published, open_published, require_fit
from enliven.models.weights import FLOATS
from enliven.types import AttentionRule, Conditioning, LatentLayout, Role
from published_folders import CONFIGS, INDICES, Miniature, index_names, write_all, write_json

TYPES = {torch.bfloat16: "BF16", torch.float32: "F32", torch.int8: "I8"}
HERE = [
    ("LongCat-Video", "base", 12.0),
    ("LongCat-Video-Avatar", "single", 12.0),
    ("LongCat-Video-Avatar", "multi", 12.0),
    ("LongCat-Video-Avatar-1.5", "bf16", 7.0),
    ("LongCat-Video-Avatar-1.5", "int8", 7.0),
]

LORAS = {"LongCat-Video": ["cfg_step_lora", "refinement_lora"], "LongCat-Video-Avatar-1.5": ["dmd_lora"]}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Miniature]:
    folder = tmp_path_factory.mktemp("published")
    return folder, write_all(folder)


@pytest.fixture
def place(written: tuple[Path, Miniature], tmp_path: Path) -> Path:
    """A copy that may be spoilt."""
    return Path(shutil.copytree(written[0], tmp_path / "published"))


def fit_all(published: Published) -> None:
    for part in published.parts.values():
        require_fit(part.folder, part.fit())


@pytest.mark.parametrize(("name", "variant", "shift"), HERE)
def test_every_publication_is_recognised_and_fits(
    written: tuple[Path, Miniature], name: str, variant: str, shift: float
) -> None:
    published = open_published(written[0] / name, variant)
    assert (published.release.name, published.variant, published.shift) == (name, variant, shift)
    assert set(published.parts) == {"backbone", "autoencoder", "text"} | ({"audio"} if "Avatar" in name else set())
    fit_all(published)
    assert list(published.loras) == LORAS.get(name, [])


def test_the_name_of_the_folder_says_nothing(place: Path) -> None:
    moved = (place / "LongCat-Video-Avatar-1.5").rename(place / "elsewhere")
    assert open_published(moved).variant == "bf16"
    base = (place / "LongCat-Video").rename(place / "foundation")
    with pytest.raises(WeightsError, match=r"autoencoder and the text encoder of LongCat-Video are not in"):
        open_published(moved)
    fit_all(open_published(moved, base=base))


def velocity(parts: dict[str, Any], layers: int) -> Tensor:
    """One pass: a portrait in the first frame, a sentence, and sound."""
    sound = torch.sin(torch.arange(16_000) / 20) * torch.linspace(0.1, 0.5, 16_000)
    heard = parts["audio"].encode(sound)
    assert isinstance(heard, SpeechFeatures)
    assert heard.features.shape[1] == layers
    windows = heard.windows(range(5), 5, round(heard.rate / 25))[None, None]
    portrait = parts["autoencoder"].encode(torch.linspace(-1, 1, 3 * 32 * 32).view(1, 3, 1, 32, 32))
    latents = torch.cat([portrait, torch.linspace(-2, 2, 16 * 16).view(1, 16, 1, 4, 4)], 2)
    text = parts["text"](["a man talks"])
    rules = (AttentionRule(range(1), (range(1),)), AttentionRule(range(1, 2), (range(2),)))
    layout = LatentLayout((Role.CONTEXT, Role.NOISE), (0.0, 1.0), rules)
    with torch.inference_mode():
        moved = parts["backbone"](latents, torch.tensor([[0.0, 0.7]]), Conditioning(text, text, windows), layout)
        return torch.cat([moved.flatten(), parts["autoencoder"].decode(latents - moved).flatten()])


@pytest.mark.parametrize(
    ("name", "variant", "layers"), [(name, v, 5 if "1.5" in name else 12) for name, v, _ in HERE[1:]]
)
def test_the_networks_of_a_folder_are_those_that_were_written(
    written: tuple[Path, Miniature], name: str, variant: str, layers: int
) -> None:
    folder, made = written
    loaded = load_networks(folder / name, torch.float32, variant).parts
    new = "1.5" in name
    backbone = LongCat((made.avatar_1_5 if new else made.avatar_1_0).params)
    backbone.load_state_dict((made.avatar_1_5 if new else made.avatar_1_0).state_dict())
    expected = {
        "backbone": to_int8(backbone) if variant == "int8" else backbone,
        "autoencoder": made.autoencoder,
        "text": made.text,
        "audio": made.whisper.half().float() if new else made.wav2vec,
    }
    result = velocity(loaded, layers)
    assert torch.equal(result, velocity(expected, layers))
    assert result.abs().max() > 0.1


def test_parts_run_in_the_types_they_are_meant_to(written: tuple[Path, Miniature]) -> None:
    loaded = load_networks(written[0] / "LongCat-Video-Avatar-1.5", variant="int8").parts
    types = {name: next(network.parameters()).dtype for name, network in loaded.items()}
    assert types == {
        "backbone": torch.bfloat16,
        "text": torch.bfloat16,
        "autoencoder": torch.float32,
        "audio": torch.float32,
    }
    small = [module for module in loaded["backbone"].modules() if isinstance(module, Int8Linear)]
    assert {module.weight_scale.dtype for module in small} == {torch.float32}
    assert velocity(loaded, 5).isfinite().all()


@pytest.mark.parametrize(("variant", "kind"), [("bf16", "avatar_1.5"), ("int8", "avatar_1.5_int8")])
def test_names_and_bytes_of_the_full_network_are_those_of_the_published_index(variant: str, kind: str) -> None:
    with torch.device("meta"):
        network = LongCat(LongCatParams.from_config(CONFIGS[kind])).bfloat16()
    state = (to_int8(network, skipped_layers(CONFIGS["quantization"])) if variant == "int8" else network).state_dict()
    assert set(state) == index_names(variant)
    assert len(state) == INDICES[variant]["tensors"]
    assert sum(value.nbytes for value in state.values()) == INDICES[variant]["total_size"]


def write_headers(folder: Path, variant: str) -> None:
    """The full-size backbone of 1.5 in files with true headers and holes where the tensors would be."""
    kind = "avatar_1.5_int8" if variant == "int8" else "avatar_1.5"
    with torch.device("meta"):
        network = LongCat(LongCatParams.from_config(CONFIGS[kind])).bfloat16()
    state = (to_int8(network) if variant == "int8" else network).state_dict()
    files, index = INDICES[variant]["files"], {}
    write_json(folder / "config.json", CONFIGS[kind])
    write_json(folder / "quantization_config.json", CONFIGS["quantization"])
    for number, file in enumerate(files):
        header, end = {}, 0
        for name in list(state)[number :: len(files)]:
            value = state[name]
            offsets = [end, end := end + value.nbytes]
            header[name] = {"dtype": TYPES[value.dtype], "shape": list(value.shape), "data_offsets": offsets}
            index[name] = file
        start = json.dumps(header).encode()
        with (folder / file).open("wb") as shard:
            shard.write(len(start).to_bytes(8, "little") + start)
            shard.truncate(8 + len(start) + end)
    write_json(folder / f"{files[0].split('-')[0]}.safetensors.index.json", {"weight_map": index})


def most_memory() -> int:
    """The most bytes this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@pytest.mark.parametrize("variant", ["bf16", "int8"])
def test_weights_of_31_gigabytes_are_compared_in_seconds_and_little_memory(place: Path, variant: str) -> None:
    folder = place / "LongCat-Video-Avatar-1.5"
    name = "base_model_int8" if variant == "int8" else "base_model"
    shutil.rmtree(folder / name)
    try:
        write_headers(folder / name, variant)
    except OSError as error:
        pytest.skip(f"this disk has no files with holes: {error}")
    for part, size in (("text_encoder", {"d_model": 4096}), ("whisper-large-v3", {"d_model": 1280})):
        path = (place / "LongCat-Video" if "text" in part else folder) / part / "config.json"
        write_json(path, json.loads(path.read_text()) | size)
    began, before = time.process_time(), most_memory()
    fit = open_published(folder, variant).parts["backbone"].fit()
    assert time.process_time() - began < 20
    assert most_memory() - before < 2**30
    assert not fit.faults
    assert (sum(fit.counts.values()), fit.nbytes) == (INDICES[variant]["tensors"], INDICES[variant]["total_size"])
    assert set(fit.counts) <= FLOATS | {"I8"}


def swap(place: Path, name: str, other: str, file: str = "") -> Path:
    """Put a folder, or a file of it, in the place of another."""
    source, target = place / other / file, place / name / file
    if source.is_dir():
        shutil.rmtree(target)
        shutil.copytree(source, target)
    else:
        shutil.copy(source, target)
    return place


OLD, NEW, GROUND = "LongCat-Video-Avatar", "LongCat-Video-Avatar-1.5", "LongCat-Video"
MIXED = [
    (NEW, f"{NEW}/base_model", f"{OLD}/avatar_single", "takes audio of size (12, 24), but"),
    (OLD, f"{OLD}/avatar_single", f"{NEW}/base_model", "takes audio of size (5, 32), but"),
    (NEW, f"{NEW}/base_model", f"{GROUND}/dit", "is that of the base LongCat-Video, which hears nothing"),
    (GROUND, f"{GROUND}/dit", f"{OLD}/avatar_single", "is that of an avatar, which hears"),
    (OLD, f"{OLD}/chinese-wav2vec2-base", f"{NEW}/whisper-large-v3", "takes audio of size (12, 24), but"),
    (NEW, f"{GROUND}/vae", f"{GROUND}/text_encoder", "AutoencoderKLWan was expected"),
    (NEW, f"{GROUND}/text_encoder", f"{OLD}/chinese-wav2vec2-base", "is that of wav2vec2; umt5 was expected"),
]


@pytest.mark.parametrize(("folder", "target", "source", "said"), MIXED)
def test_folders_in_the_wrong_place_are_told_apart(
    place: Path, folder: str, target: str, source: str, said: str
) -> None:
    swap(place, target, source)
    with pytest.raises(WeightsError) as caught:
        open_published(place / folder)
    assert said in str(caught.value)
    assert caught.value.hint


WRONG_CONFIG = [
    (NEW, f"{NEW}/base_model", f"{OLD}/avatar_single", "hear other features than config.json says"),
    (NEW, f"{NEW}/base_model", f"{NEW}/base_model_int8", "they are int8, where bf16 is expected"),
    (NEW, f"{NEW}/base_model", f"{GROUND}/dit", "they hear nothing"),
    (GROUND, f"{GROUND}/dit", f"{OLD}/avatar_single", "those of an avatar, where the base is expected"),
]


@pytest.mark.parametrize(("folder", "target", "source", "said"), WRONG_CONFIG)
def test_weights_under_the_config_of_others_are_told_apart(
    place: Path, folder: str, target: str, source: str, said: str
) -> None:
    config = (place / target / "config.json").read_text()
    swap(place, target, source)
    (place / target / "config.json").write_text(config)
    with pytest.raises(WeightsError, match=said):
        fit_all(open_published(place / folder))


def test_bf16_weights_are_not_taken_for_int8(place: Path) -> None:
    swap(place, f"{NEW}/base_model_int8", f"{NEW}/base_model")
    write_json(place / NEW / "base_model_int8" / "quantization_config.json", CONFIGS["quantization"])
    with pytest.raises(WeightsError, match="they are not quantised, where int8 is expected"):
        fit_all(open_published(place / NEW, "int8"))


def test_nothing_is_read_when_one_part_does_not_fit(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = place / NEW / "whisper-large-v3" / "model.safetensors"
    state = load_file(file)
    del state["model.encoder.layer_norm.weight"]
    save_file({name: value.clone() for name, value in state.items()}, file.with_suffix(".new"))
    file.with_suffix(".new").rename(file)
    monkeypatch.setattr("enliven.models.weights.safe_open", None)
    with pytest.raises(WeightsError, match=r"whisper-large-v3 .*1 missing \(network\.layer_norm\.weight\)"):
        load_networks(place / NEW)


def test_the_pickle_of_1_0_is_refused_with_the_way_to_convert_it(place: Path) -> None:
    folder = place / OLD / "chinese-wav2vec2-base"
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"pytorch_model\.bin is a pickle") as caught:
        fit_all(open_published(place / OLD))
    assert caught.value.hint == f"convert it: enliven models convert {folder}"


@pytest.mark.parametrize("name", [f"{NEW}/base_model_int8", f"{GROUND}/dit"])
def test_a_backbone_alone_points_to_the_folder_around_it(written: tuple[Path, Miniature], name: str) -> None:
    with pytest.raises(WeightsError, match="is the backbone alone") as caught:
        open_published(written[0] / name)
    assert str((written[0] / name).parent) in caught.value.hint


def test_other_folders_and_variants_are_refused(place: Path) -> None:
    with pytest.raises(WeightsError, match="is not there"):
        open_published(place / "nothing")
    with pytest.raises(WeightsError, match="is no published LongCat folder"):
        open_published(place)
    with pytest.raises(ConfigError, match="no variant 'int4'") as caught:
        open_published(place / NEW, "int4")
    assert "bf16, int8" in caught.value.hint
    shutil.rmtree(place / NEW / "base_model_int8")
    with pytest.raises(WeightsError, match="no folder base_model_int8"):
        open_published(place / NEW, "int8")


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"_class_name": "LongCatVideoAvatarTransformer3DModel", "num_heads": 7}']
)
def test_a_config_that_makes_no_sense_is_refused(place: Path, content: str) -> None:
    (place / NEW / "base_model" / "config.json").write_text(content)
    with pytest.raises(WeightsError, match=r"base_model/config\.json"):
        open_published(place / NEW)


def test_a_tokenizer_that_is_missing_is_named(place: Path) -> None:
    (place / GROUND / "tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(WeightsError, match=r"there is no .*tokenizer\.json"):
        fit_all(open_published(place / NEW))


@pytest.mark.parametrize(("name", "variant"), [(OLD, "single"), (NEW, "int8")])
def test_they_are_the_networks_of_a_pipeline_and_have_a_fingerprint(
    written: tuple[Path, Miniature], name: str, variant: str
) -> None:
    networks = load_networks(written[0] / name, variant=variant)
    own = fingerprint(networks)
    assert fingerprint(load_networks(written[0] / name, variant=variant)) == own
    networks.backbone.get_parameter("final_layer.linear.bias").add_(1)
    assert fingerprint(networks) != own
