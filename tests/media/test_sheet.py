import numpy as np

from enliven.media.sheet import PAPER, contact_sheet, timestamp, video_sheet
from enliven.types import Video
from media_files import drifting, grey


def test_every_frame_stands_in_its_place_enlarged() -> None:
    sheet = contact_sheet(grey([10, 60, 110, 160, 210], 32, 64), columns=3)
    assert sheet.size == (3 * 390 + 6, 6 + 2 * 198)
    cells = [sheet.getpixel((6 + 390 * (i % 3) + 190, 6 + 198 * (i // 3) + 95)) for i in range(6)]
    assert cells == [(v, v, v) for v in (10, 60, 110, 160, 210)] + [PAPER]


def test_labels_and_title_leave_ink() -> None:
    frames = grey([200, 200], 192, 192)
    plain, labelled = contact_sheet(frames), contact_sheet(frames, labels=["0:00", "0:01"], title="Speech")
    assert labelled.height > plain.height + 30
    assert (np.asarray(labelled) < 60).sum() > 500
    assert (np.asarray(plain) < 60).sum() == 0


def test_a_long_video_is_sampled_from_its_first_to_its_last_frame() -> None:
    video = Video(drifting(100, 192, 192), 25.0)
    sheet = video_sheet(video, count=5, columns=5)
    first, last = (np.asarray(sheet)[100, 6 + 198 * i + 96] for i in (0, 4))
    assert (first == video.frames[0, :, 94, 96].numpy()).all()
    assert (last == video.frames[99, :, 94, 96].numpy()).all()


def test_timestamps_read_as_minutes_seconds_hundredths() -> None:
    assert [timestamp(s) for s in (0.0, 1.04, 59.999, 62.4)] == ["0:00.00", "0:01.04", "1:00.00", "1:02.40"]
