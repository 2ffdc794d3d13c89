"""What is fetched of which publication, and where a folder's other half is looked for."""

from fnmatch import fnmatch
from pathlib import Path

import pytest

from enliven.errors import ConfigError, WeightsError
from enliven.models.releases import AVATAR_1_0, AVATAR_1_5, BASE, fetches, find_base, find_release, recognise

FILES = [
    *("dit/model-00001-of-00002.safetensors", "vae/config.json", "tokenizer/spiece.model", "scheduler/x.json"),
    *("base_model/a.safetensors", "base_model_int8/a.safetensors", "base_model_int8/quantization_config.json"),
    *("avatar_single/a.safetensors", "avatar_multi/a.safetensors", "chinese-wav2vec2-base/pytorch_model.bin"),
    *("chinese-wav2vec2-base/config.json", "whisper-large-v3/model.safetensors", "lora/dmd_lora.safetensors"),
    *("vocal_separator/Kim_Vocal_2.onnx", "README.md", "assets/x.json"),
]


def fetched(patterns: tuple[str, ...]) -> set[str]:
    return {file for file in FILES if any(fnmatch(file, pattern) for pattern in patterns)}


def test_an_avatar_comes_with_its_half_of_the_base_and_one_variant() -> None:
    avatar, base = fetches(AVATAR_1_5, "int8")
    assert (avatar.repository, avatar.name) == ("meituan-longcat/LongCat-Video-Avatar-1.5", "LongCat-Video-Avatar-1.5")
    assert fetched(avatar.patterns) == {
        *("base_model_int8/a.safetensors", "base_model_int8/quantization_config.json", "scheduler/x.json"),
        *("whisper-large-v3/model.safetensors", "lora/dmd_lora.safetensors"),
    }
    assert base.name == "LongCat-Video"
    assert fetched(base.patterns) == {"vae/config.json", "tokenizer/spiece.model", "scheduler/x.json"}


def test_pickles_are_not_fetched() -> None:
    avatar, _ = fetches(AVATAR_1_0)
    found = fetched(avatar.patterns)
    assert {"avatar_single/a.safetensors", "chinese-wav2vec2-base/config.json"} <= found
    assert not found & {"avatar_multi/a.safetensors", "chinese-wav2vec2-base/pytorch_model.bin", "scheduler/x.json"}


def test_the_base_alone_comes_with_its_backbone() -> None:
    (base,) = fetches(BASE)
    assert {"dit/model-00001-of-00002.safetensors", "vae/config.json"} <= fetched(base.patterns)


def test_names_are_found_in_any_case_and_others_refused() -> None:
    assert find_release("longcat-video-avatar-1.5") is AVATAR_1_5
    with pytest.raises(ConfigError, match="nothing called 'soul'"):
        find_release("soul")
    with pytest.raises(ConfigError, match="no variant 'fp8'"):
        fetches(AVATAR_1_5, "fp8")


def test_the_base_is_looked_for_where_it_is_named_within_and_beside(tmp_path: Path) -> None:
    avatar, beside, named = tmp_path / "avatar", tmp_path / "LongCat-Video", tmp_path / "named"
    avatar.mkdir()
    with pytest.raises(WeightsError, match=r"not in .*LongCat-Video") as caught:
        find_base(avatar, None)
    assert "beside avatar" in caught.value.hint
    for place in (beside, named):
        for part in ("vae", "text_encoder"):
            (place / part).mkdir(parents=True)
    assert find_base(avatar, None) == beside
    assert find_base(avatar, named) == named
    with pytest.raises(WeightsError, match=r"not in .*avatar"):
        find_base(beside, avatar)
    for part in ("vae", "text_encoder"):
        (avatar / part).mkdir()
    assert find_base(avatar, None) == avatar


def test_a_folder_is_recognised_by_what_it_holds(tmp_path: Path) -> None:
    assert recognise(tmp_path) is None
    (tmp_path / "dit").mkdir()
    assert recognise(tmp_path) is BASE
    (tmp_path / "avatar_multi").mkdir()
    assert recognise(tmp_path) is AVATAR_1_0
    (tmp_path / "base_model_int8").mkdir()
    assert recognise(tmp_path) is AVATAR_1_5
