from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from enliven.errors import MediaError, StorageError
from enliven.media.audio import mono_16k
from enliven.media.mux import write_video
from enliven.media.video import encode_segment, frame_rate, read_first_frame, read_moment, read_video, video_frames
from enliven.types import Audio, Video
from media_files import drifting, grey, sweep, write_frames


def levels(video: Video) -> list[int]:
    return [round(float(frame.float().mean())) for frame in video.frames]


def near(seen: list[int], wanted: list[int]) -> bool:
    return len(seen) == len(wanted) and all(abs(a - b) <= 2 for a, b in zip(seen, wanted, strict=True))


def test_colours_survive_the_round_trip(tmp_path: Path) -> None:
    bars = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 150, 120), (30, 90, 200)]
    frame = torch.tensor(bars, dtype=torch.uint8).T[:, None, :, None].expand(3, 64, 7, 32).reshape(3, 64, 224)
    encode_segment([frame[None].expand(5, -1, -1, -1)], 25.0, tmp_path / "a.mp4")
    seen = read_video(tmp_path / "a.mp4").frames[4].reshape(3, 64, 7, 32)[:, :, :, 6:-6]
    wanted = frame.reshape(3, 64, 7, 32)[:, :, :, 6:-6]
    assert (seen.int() - wanted.int()).abs().max() <= 3
    with av.open(str(tmp_path / "a.mp4")) as container:
        picture = next(container.decode(video=0))
        context = container.streams.video[0].codec_context
        tags = (picture.colorspace, picture.color_range, context.color_primaries, context.color_trc)
        assert tags == (1, 1, 1, 1)
        # Another reader of BT.709 sees the same.
        other = torch.from_numpy(picture.to_ndarray(format="rgb24")).permute(2, 0, 1).reshape(3, 64, 7, 32)
        assert (other[:, :, :, 6:-6].int() - wanted.int()).abs().max() <= 4


def test_small_moving_frames_stay_clean(tmp_path: Path) -> None:
    frames = drifting(41, 128, 128)
    encode_segment([frames], 25.0, tmp_path / "a.mp4")
    seen = read_video(tmp_path / "a.mp4")
    assert seen.fps == 25
    error = (seen.frames.float() - frames.float()).square().mean()
    assert 10 * torch.log10(255**2 / error) > 40


def test_chunks_and_repetition_do_not_change_the_bytes(tmp_path: Path) -> None:
    frames = drifting(30)
    assert encode_segment([frames], 25.0, tmp_path / "a.mp4") == 30
    assert encode_segment(frames.split([1, 4, 20, 5]), 25.0, tmp_path / "b.mp4") == 30
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_odd_sizes_grow_by_their_edge(tmp_path: Path) -> None:
    frames = drifting(3, 33, 47)
    encode_segment([frames], 25.0, tmp_path / "a.mp4")
    seen = read_video(tmp_path / "a.mp4").frames
    assert seen.shape == (3, 3, 34, 48)
    assert (seen[:, :, :33, :47].int() - frames.int()).abs().float().mean() < 3


def test_no_frames_is_a_mistake_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no frames were given"):
        encode_segment([], 25.0, tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


def test_a_failing_source_of_frames_leaves_no_file(tmp_path: Path) -> None:
    def chunks():  # type: ignore[no-untyped-def]
        yield drifting(5)
        raise KeyError("mine")

    with pytest.raises(KeyError):
        encode_segment(chunks(), 25.0, tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="not a directory"):
        encode_segment([drifting(1)], 25.0, tmp_path / "file" / "a.mp4")


def test_frame_rates_become_fractions_a_file_can_hold() -> None:
    assert str(frame_rate(30000 / 1001)) == "30000/1001"
    assert frame_rate(25.0) == 25


def test_another_frame_rate_takes_the_nearest_frame_in_time(tmp_path: Path) -> None:
    shades = list(range(20, 220, 20))
    path = write_frames(tmp_path / "a.mp4", grey(shades), [100 * i for i in range(10)])  # 10 fps, one second
    assert near(levels(read_video(path, fps=10.0)), shades)
    assert near(levels(read_video(path, fps=20.0)), [shade for shade in shades for _ in range(2)])
    assert near(levels(read_video(path, fps=5.0)), shades[::2])
    assert len(levels(read_video(path, fps=25.0))) == 25


def test_a_varying_frame_rate_keeps_its_timing(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "a.mkv", grey([20, 90, 160, 230]), [0, 40, 480, 520])
    assert near(levels(read_video(path, fps=25.0))[:14], [20, *[90] * 11, 160, 230])


@pytest.mark.parametrize("fps", [None, 12.5])
def test_the_last_frames_are_the_end_of_the_whole(tmp_path: Path, fps: float | None) -> None:
    path = tmp_path / "a.mp4"
    encode_segment([drifting(150)], 25.0, path)
    whole, last = read_video(path, fps), read_video(path, fps, last_frames=13)
    assert torch.equal(last.frames, whole.frames[-13:])
    assert last.fps == whole.fps


def test_frames_one_after_the_other_are_those_of_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    encode_segment([drifting(20)], 25.0, path)
    assert torch.equal(torch.stack(list(video_frames(path, 10.0))), read_video(path, fps=10.0).frames)


def test_the_first_frame_is_that_of_the_whole(tmp_path: Path) -> None:
    encode_segment([drifting(5)], 25.0, tmp_path / "a.mp4")
    assert torch.equal(read_first_frame(tmp_path / "a.mp4"), read_video(tmp_path / "a.mp4").frames[0])


@pytest.mark.parametrize("late", [0, 700])
def test_a_moment_is_that_of_the_whole(tmp_path: Path, late: int) -> None:
    """Also behind the first key frame, and where a video does not begin at 0."""
    path = write_frames(tmp_path / "film.mp4", drifting(280), [40 * index + late for index in range(280)])
    whole = read_video(path, 25.0).frames
    for place, start in ((0.0, 0), (0.2, 55), (0.98, 270), (1.0, 275)):
        moment = read_moment(path, 25.0, 5, place)
        near = [torch.equal(moment, whole[begin : begin + 5]) for begin in range(max(0, start - 1), start + 2)]
        assert sum(near) == 1, (place, [torch.equal(moment[0], frame) for frame in whole].index(True))
    assert torch.equal(read_moment(path, 25.0, 280, 0.7), whole)
    slow = read_moment(path, 12.5, 3, 0.5)
    assert [torch.equal(slow[1], frame) for frame in whole].count(True) == 1
    with pytest.raises(MediaError, match="280 frames at 25 fps; at least 281"):
        read_moment(path, 25.0, 281, 0.5)


def test_more_last_frames_than_there_are_is_refused(tmp_path: Path) -> None:
    encode_segment([drifting(10)], 25.0, tmp_path / "a.mp4")
    with pytest.raises(MediaError, match="has 10 frames at 25 fps; at least 13 are needed"):
        read_video(tmp_path / "a.mp4", last_frames=13)


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_turned_camera_gives_an_upright_picture(tmp_path: Path, turn: int) -> None:
    frames = grey([40], 48, 64)
    frames[:, 0, :, :32] = 250  # red on the left as stored
    path = write_frames(tmp_path / "a.mp4", frames, [0], rotate=turn)
    seen = read_video(path, fps=25.0).frames[0].float()
    # The tag turns the stored picture counter-clockwise by that many degrees.
    red = {90: seen[0, -10:], 180: seen[0, :, -10:], 270: seen[0, :10]}[turn]
    assert seen.shape[1:] == ((64, 48) if turn != 180 else (48, 64))
    assert red.mean() > 220


def test_untagged_small_video_is_read_as_bt601(tmp_path: Path) -> None:
    frames = torch.tensor([30, 200, 60], dtype=torch.uint8)[None, :, None, None].expand(2, 3, 64, 64)
    path = write_frames(tmp_path / "a.mp4", frames, [0, 40])  # the encoder's default matrix is BT.601, without a tag
    assert (read_video(path, fps=25.0).frames[0].int() - frames[0].int()).abs().max() <= 3


def test_the_sound_comes_with_the_frames(tmp_path: Path) -> None:
    samples = torch.from_numpy(sweep(48000, 4.0))
    write_video(Video(drifting(100), 25.0, Audio(samples, 48000)), tmp_path / "a.mp4")
    whole = read_video(tmp_path / "a.mp4", sound=True)
    assert whole.audio is not None
    assert whole.audio.samples.shape == (1, 192000)
    last = read_video(tmp_path / "a.mp4", last_frames=25, sound=True).audio
    assert last is not None
    assert last.seconds == pytest.approx(1)


def test_a_song_with_a_cover_is_not_a_video(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w", format="mp4") as out:
        cover = out.add_stream("png", rate=1)
        cover.height, cover.width, cover.pix_fmt = 32, 32, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        song = out.add_stream("aac", rate=48000)
        out.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        sound = av.AudioFrame.from_ndarray(sweep(48000, channels=2), format="fltp", layout="stereo")
        sound.rate, sound.pts = 48000, 0
        for stream in (song, cover):
            out.mux(stream.encode(sound if stream is song else None))
        out.mux(song.encode(None))
    with av.open(str(path)) as container:
        assert container.streams.video
    assert mono_16k(path).abs().max() > 0.1
    with pytest.raises(MediaError, match="has no video"):
        read_video(path)


def test_pixels_that_are_not_square_become_square(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(3, 2)
        out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8))))
        out.mux(stream.encode(None))
    assert read_video(path).frames.shape == (1, 3, 48, 96)


def test_a_false_time_stamp_is_refused(tmp_path: Path) -> None:
    path = write_frames(tmp_path / "a.mkv", grey([20, 90, 160]), [0, 40, 900_000_000])
    with pytest.raises(MediaError, match="stamped 900000 s"):
        read_video(path, fps=25.0, last_frames=2)


def test_a_rate_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    encode_segment([drifting(2)], 25.0, tmp_path / "a.mp4")
    for fps in (0.0, -5.0, 1e9, float("nan")):
        with pytest.raises(MediaError, match="frames a second; 1 to 240 are possible"):
            read_video(tmp_path / "a.mp4", fps=fps)
