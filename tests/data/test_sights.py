"""Tests of clips without people."""

from pathlib import Path

import torch

from enliven.data.clips import load_clip, save_clip
from enliven.data.sights import make_sight


def test_nothing_sounds_and_nobody_speaks(tmp_path: Path) -> None:
    clip = make_sight(4, frames=9, size=(32, 48))
    assert clip.frames.shape == (9, 3, 32, 48)
    assert len(clip.samples) == 0
    assert not clip.state.mouth_open.any()
    assert "in front of" in clip.caption
    save_clip(clip, tmp_path / "sight.safetensors")
    back = load_clip(tmp_path / "sight.safetensors")
    assert torch.equal(back.frames, clip.frames)
    assert len(back.samples) == 0
    assert back.caption == clip.caption
