"""The list of models, what is said of folders of weights, and what would be fetched."""

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from enliven.cli import run
from enliven.commands.models import description
from enliven.errors import WeightsError
from enliven.models.layered import write_label
from enliven.models.networks import load_network, save_network, save_networks
from enliven.runtime.choices import Choices
from enliven.systems import MODELS, offered
from enliven.systems.opening import open_model
from enliven.systems.spec import PACKAGED, ModelSpec
from published_folders import lora_key, write_all, write_lora
from tiny import tiny_networks

NEW = "LongCat-Video-Avatar-1.5"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    write_all(folder)
    return folder


@pytest.fixture
def place(written: Path, tmp_path: Path) -> Path:
    """A copy that may be spoilt."""
    return Path(shutil.copytree(written, tmp_path / "published"))


def test_every_model_is_listed_with_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models"]) == 0
    shown = capsys.readouterr().out
    assert all(f"{spec.name}: {spec.summary}" in shown for spec in offered())
    assert {spec.name for spec in offered()} == set(MODELS)
    assert "LongCat-Video-Avatar-1.5: weights published at meituan-longcat/LongCat-Video-Avatar-1.5" in shown
    assert run(["models", "list"]) == 0
    assert capsys.readouterr().out == shown


def test_missing_weights_are_said_to_be_missing() -> None:
    spec = replace(next(iter(MODELS.values())), name="not-trained-yet")
    assert "not here: set ENLIVEN_WEIGHTS" in description(spec)


def test_published_models_are_listed_with_their_weights(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENLIVEN_WEIGHTS", str(place))
    assert run(["models"]) == 0
    shown = capsys.readouterr().out
    for name in ("longcat", "longcat-multi"):
        assert f" MiB in {place / 'LongCat-Video-Avatar'}\n" in shown.split(f"{name}: ")[1].split("\n\n")[0] + "\n"
    assert run(["models", "show", "longcat-1.5"]) == 0
    large = capsys.readouterr().out
    assert "8 steps" in large
    assert run(["models", "show", "longcat-1.5-int8"]) == 0
    small = capsys.readouterr().out
    assert mebibytes(small) < mebibytes(large), "what another variant uses does not count"
    shutil.rmtree(place / "LongCat-Video")
    assert run(["models", "show", "longcat-1.5"]) == 0
    assert "weights   not here: put LongCat-Video beside LongCat-Video-Avatar-1.5" in capsys.readouterr().out


def mebibytes(shown: str) -> float:
    return float(shown.split("weights   ")[1].split(" MiB", maxsplit=1)[0])


def test_a_model_a_publication_and_a_folder_are_shown(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "show", "longcat-toon"]) == 0
    assert "128x128" in capsys.readouterr().out
    assert run(["models", "show", "longcat-video-avatar"]) == 0
    assert "variants  single, multi" in capsys.readouterr().out
    assert run(["models", "show", str(written / NEW), "--variant", "int8"]) == 0
    shown = capsys.readouterr().out
    assert "1.5, int8: 2 blocks of width 64, hears 5 x 32 a feature" in shown
    assert "shift 7\n" in shown
    assert str(written / "LongCat-Video" / "vae") in shown
    assert run(["models", "show", "nothing"]) == 2
    assert "nothing called 'nothing'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["LongCat-Video", "LongCat-Video-Avatar", NEW])
def test_a_whole_folder_passes(written: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "check", str(written / name)]) == 0
    shown = capsys.readouterr().out
    assert shown.count(": fits\n") == (3 if name == "LongCat-Video" else 4)
    assert "DOES NOT" not in shown
    assert f"all of {written / name} fits" in shown


def test_types_and_what_is_not_needed_are_counted(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["models", "check", str(written / NEW), "--variant", "int8"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "backbone base_model_int8" in shown
    assert "35 F32, 35 I8" in shown
    assert "1 of other use: fits" in shown
    assert "lora dmd_lora.safetensors fits" in shown


def refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """Standard output and error of a check that finds something."""
    assert run(["models", "check", str(folder)]) == 2
    shown = capsys.readouterr()
    assert "hint: " in shown.err
    return shown.out, shown.err


def shard(place: Path) -> Path:
    return place / NEW / "base_model" / "diffusion_pytorch_model-00002-of-00006.safetensors"


def test_a_shard_cut_short(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard(place).write_bytes(shard(place).read_bytes()[:-7])
    out, err = refused(place / NEW, capsys)
    assert f"{shard(place)} is cut short" in err
    assert out.count(": fits\n") == 3, "the other parts are still compared"


def test_a_shard_missing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard(place).unlink()
    assert f"1 of 6 files of weights are missing in {shard(place).parent}" in refused(place / NEW, capsys)[1]


def test_a_pointer_instead_of_weights(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shard(place).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    _, err = refused(place / NEW, capsys)
    assert "git-lfs pointer" in err
    assert "git lfs pull" in err


def test_a_pickle_instead_of_weights(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ears = place / "LongCat-Video-Avatar" / "chinese-wav2vec2-base"
    state = load_file(ears / "model.safetensors")
    (ears / "model.safetensors").unlink()
    torch.save(state, ears / "pytorch_model.bin")
    out, err = refused(place / "LongCat-Video-Avatar", capsys)
    assert f"error: {ears / 'pytorch_model.bin'} is a pickle; only safetensors are read" in err
    (hint,) = [line.removeprefix("hint: convert it: ") for line in err.splitlines() if line.startswith("hint: ")]
    assert out.count(": fits\n") == 3
    assert run(shlex.split(hint)[1:]) == 0
    assert str(ears / "model.safetensors") in capsys.readouterr().out
    assert run(["models", "check", str(place / "LongCat-Video-Avatar")]) == 0
    written = load_file(ears / "model.safetensors")
    assert written.keys() == state.keys()
    assert all(torch.equal(written[name], value) for name, value in state.items())


def test_folders_mixed_up(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ears = place / NEW / "whisper-large-v3"
    shutil.rmtree(ears)
    shutil.copytree(place / "LongCat-Video-Avatar" / "chinese-wav2vec2-base", ears)
    assert "takes audio of size (5, 32), but" in refused(place / NEW, capsys)[1]


def test_what_is_missing_and_left_over_is_listed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = load_file(shard(place))
    first = next(iter(state))
    state["stranger.weight"] = state.pop(first)
    save_file({name: value.clone() for name, value in state.items()}, shard(place).with_suffix(".new"))
    shard(place).with_suffix(".new").rename(shard(place))
    out, err = refused(place / NEW, capsys)
    assert f"1 missing:\n    {first}" in out
    assert "1 not expected:\n    stranger.weight" in out
    assert "DOES NOT FIT" in out
    assert f"1 missing ({first}); 1 not expected (stranger.weight)" in err


def test_a_lora_of_another_model_and_several_faults(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = place / NEW / "lora" / "dmd_lora.safetensors"
    path.unlink()
    write_lora(path, {"blocks.7.attn.qkv": (192, 64, 3)})
    assert lora_key("blocks.7.attn.qkv", "alpha_scale") in load_file(path)
    assert "1 of 1 layers of the LoRA" in refused(place / NEW, capsys)[1]
    shard(place).unlink()
    assert "2 of 5 parts cannot be used; the first: 1 of 6 files" in refused(place / NEW, capsys)[1]


def test_a_folder_that_was_saved_here_is_checked_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_networks(tiny_networks(), tmp_path)
    assert run(["models", "check", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count(": fits\n") == 4
    next((tmp_path / "text").glob("*.safetensors")).unlink()
    assert "files of weights are missing" in refused(tmp_path, capsys)[1]


@pytest.mark.parametrize(("name", "parts"), [("longcat-toon", 4), ("soul-toon", 6)])
def test_what_ships_passes(name: str, parts: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models", "check", str(PACKAGED / name)]) == 0
    assert capsys.readouterr().out.count(": fits\n") == parts


def test_folders_saved_here_and_mixed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_networks(tiny_networks(), tmp_path)
    text = tmp_path / "text"
    shutil.rmtree(text)
    shutil.copytree(tmp_path / "backbone", text)
    assert "text holds a network of the kind longcat, which cannot be the text of a" in refused(tmp_path, capsys)[1]
    shutil.rmtree(text)
    shutil.copytree(PACKAGED / "longcat-toon" / "text", text)
    shown, error = refused(tmp_path, capsys)
    assert shown.count(": fits\n") == 4
    assert "the text beside it for text of 96 numbers a token" in error


def test_a_text_encoder_that_a_backbone_was_not_taught_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It has the same widths, and all it reads would be nonsense."""
    write_label(tmp_path, "soul-toon", PACKAGED / "soul-toon")
    assert run(["models", "check", str(tmp_path)]) == 0
    capsys.readouterr()
    other = load_network(PACKAGED / "soul-toon" / "text")
    with torch.no_grad():
        next(other.parameters()).mul_(-1)
    save_network(other, tmp_path / "text")
    shown, error = refused(tmp_path, capsys)
    assert shown.count(": fits\n") == 6
    assert "was taught with another text than that in" in error
    with pytest.raises(WeightsError, match="taught with another text"):
        open_model(None, Choices(weights=tmp_path))


@pytest.mark.parametrize(
    "spec", [spec for spec in offered() if (PACKAGED / spec.name).is_dir()], ids=lambda spec: spec.name
)
def test_backbones_that_ship_say_what_they_were_taught_with(spec: ModelSpec) -> None:
    """Weights that were saved without: ``enliven.models.marks.mark_backbone``."""
    told = json.loads((PACKAGED / spec.name / "backbone" / "config.json").read_text())
    assert set(told["taught_with"]) == {"text", "audio", "autoencoder"}


def test_any_other_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is no published LongCat folder" in refused(tmp_path, capsys)[1]
    assert "is not there" in refused(tmp_path / "nothing", capsys)[1]


def test_what_would_be_fetched_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["longcat-video-avatar-1.5", "--variant", "int8", "--into", str(tmp_path), "--dry-run"]
    assert run(["models", "download", *given]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == (
        "meituan-longcat/LongCat-Video-Avatar-1.5 (base_model_int8, whisper-large-v3, lora, scheduler) "
        f"to {tmp_path / NEW}"
    )
    assert second.startswith("meituan-longcat/LongCat-Video (vae, text_encoder, tokenizer, scheduler) to ")
    assert not list(tmp_path.iterdir())


def test_what_is_fetched_is_what_was_told_and_a_failure_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, Path, list[str]]] = []

    def no_network(repository: str, *, local_dir: Path, allow_patterns: list[str], ignore_patterns: list[str]) -> None:
        asked.append((repository, local_dir, allow_patterns))
        if len(asked) == 2:
            raise OSError("no route")

    monkeypatch.setattr("huggingface_hub.snapshot_download", no_network)
    assert run(["models", "download", NEW, "--into", str(tmp_path)]) == 1
    assert [(repository, folder.name) for repository, folder, _ in asked] == [
        (f"meituan-longcat/{NEW}", NEW),
        ("meituan-longcat/LongCat-Video", "LongCat-Video"),
    ]
    assert "base_model/*.safetensors" in asked[0][2]
    assert "cannot fetch meituan-longcat/LongCat-Video: no route" in capsys.readouterr().err
    assert run(["models", "download", NEW, "--variant", "fp8"]) == 2
