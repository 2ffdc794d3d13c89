"""Tests of finding encoded clips: in files, in shards, and not where they show failures."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from enliven.data.encoded import save_encoded
from enliven.data.latents import find_clips
from enliven.data.shards import ShardWriter
from enliven.errors import ConfigError
from enliven.toonworld.failures import NEGATIVE_PROMPT, Failure
from shard_folders import numbered_clip, write_shards


def test_clips_are_found_in_files_and_in_shards(tmp_path: Path) -> None:
    write_shards(tmp_path, 7)
    for number in (7, 8):
        save_encoded(numbered_clip(number), tmp_path / f"{number}.safetensors")
    clips = find_clips(tmp_path)
    assert [clip.latents()[0, 0, 0, 0].item() for clip in clips] == list(range(9))
    assert [clip.name for clip in clips[-3:]][1:] == ["7.safetensors", "8.safetensors"]
    assert clips[0].name == "000_00000_000000.safetensors"


def test_failures_are_left_out(tmp_path: Path) -> None:
    captions = ["a man", NEGATIVE_PROMPT, "a woman", Failure.GHOST.value]
    with ShardWriter(tmp_path) as writer:
        for number, caption in enumerate(captions):
            clip = replace(numbered_clip(number), caption=caption)
            writer.add(clip, "a film", number)
            save_encoded(clip, tmp_path / f"{number}.safetensors")
    assert sorted(clip.latents()[0, 0, 0, 0].item() for clip in find_clips(tmp_path)) == [0, 0, 2, 2]


def test_what_is_no_clip_is_told_when_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "0.safetensors").write_bytes(b"nonsense")
    save_encoded(replace(numbered_clip(1), latents=torch.full((3, 4, 2, 2), float("nan"))), tmp_path / "1.safetensors")
    for clip, told in zip(find_clips(tmp_path), (r"0\.safetensors is not an encoded clip", "not finite"), strict=True):
        with pytest.raises(ConfigError, match=told):
            clip.latents()
    assert find_clips(tmp_path / "absent") == []
