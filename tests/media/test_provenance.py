from pathlib import Path

import torch

from enliven.media.mux import join_segments, write_video
from enliven.media.provenance import made_with, maker
from enliven.media.video import encode_segment
from enliven.types import Video


def test_a_file_says_with_which_model_it_was_made(tmp_path: Path) -> None:
    frames = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    encode_segment([frames], 25.0, tmp_path / "segment.mp4")
    join_segments([tmp_path / "segment.mp4"], tmp_path / "made.mp4", fps=25.0, tags=made_with("soul-toon"))
    assert maker(tmp_path / "made.mp4") == "soul-toon"
    write_video(Video(frames, 25.0), tmp_path / "other.mp4")
    assert maker(tmp_path / "other.mp4") is None
