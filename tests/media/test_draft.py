import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from enliven.errors import MediaError
from enliven.media.draft import Draft
from enliven.media.mux import write_video
from enliven.media.video import read_video, video_frames
from enliven.types import Video


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven frames of noise."""
    path = tmp_path_factory.mktemp("draft") / "draft.mp4"
    noise = torch.randint(0, 256, (7, 3, 32, 48), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    write_video(Video(noise, 15.0), path)
    return path


def trilinear(path: Path, count: int, size: tuple[int, int]) -> torch.Tensor:
    """What the published refinement makes of all frames: each at another size, then all at another number of them."""
    frames = read_video(path).frames.float() / 255
    sized = F.interpolate(frames, size, mode="bilinear", align_corners=True).transpose(0, 1)
    return F.interpolate(sized[None], (count, *size), mode="trilinear", align_corners=True)[0] * 2 - 1


@pytest.mark.parametrize(("fps", "count"), [(30, 14), (15, 7), (25, 12), (6, 3)])
def test_it_is_the_trilinear_interpolation_of_the_whole(video: Path, fps: int, count: int) -> None:
    draft = Draft.open(video, fps, (44, 80))
    assert draft.count == count
    whole = draft.frames(range(count))
    torch.testing.assert_close(whole, trilinear(video, count, (44, 80)), atol=1e-4, rtol=0)
    assert torch.equal(draft.frames(range(1, count)), whole[:, 1:])


def test_clip_after_clip_the_video_is_read_once_and_not_held(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Draft.open(video, 25, (32, 48)).frames(range(14))
    read: list[weakref.ref[torch.Tensor]] = []
    most = 0

    def watched(path: Path, fps: float) -> Iterator[torch.Tensor]:
        nonlocal most
        for frame in video_frames(path, fps):
            read.append(weakref.ref(frame))
            most = max(most, sum(each() is not None for each in read))
            yield frame

    monkeypatch.setattr("enliven.media.draft.video_frames", watched)
    draft = Draft.open(video, 25, (32, 48))
    for start in (*range(0, 12, 2), 12):  # each repeats two frames of the one before
        assert torch.equal(draft.frames(range(start, min(start + 4, 14))), whole[:, start : start + 4])
    assert len(read) == 7, "as many as there are"
    assert most <= 4
    for start in (3, 9, 0):  # and in any order
        assert torch.equal(draft.frames(range(start, start + 5)), whole[:, start : start + 5])
    assert len(read) == 7 + 7 + 4, "only what lies before is read again"


def test_what_lies_behind_the_end_is_the_last_frame(video: Path) -> None:
    found = Draft.open(video, 30, (32, 48)).frames(range(12, 17))
    assert not torch.equal(found[:, 0], found[:, 1])
    assert all(torch.equal(found[:, 1], found[:, index]) for index in (2, 3, 4))
    behind = Draft.open(video, 30, (32, 48)).frames(range(15, 17))
    assert torch.equal(behind[:, 0], found[:, 1])


def test_a_single_frame_is_every_frame(tmp_path: Path) -> None:
    write_video(Video(torch.full((1, 3, 32, 32), 200, dtype=torch.uint8), 15.0), tmp_path / "one.mp4")
    found = Draft.open(tmp_path / "one.mp4", 30, (32, 32)).frames(range(5))
    assert found.shape == (3, 5, 32, 32)
    assert found.min() == found.max()


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(MediaError, match=r"a\.mp4"):
        Draft.open(tmp_path / "a.mp4", 30, (32, 32))
