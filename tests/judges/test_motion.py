import torch

from enliven.judges.motion import body_motion, head_motion
from enliven.toonworld.state import FaceState
from toon_people import drawn, talking


def verdict(state: FaceState) -> dict[str, torch.Tensor]:
    return {name: getattr(state, name) for name in ("yaw", "pitch", "roll", "shift_x", "shift_y")}


def test_head_motion_counts_pixels_and_scales_with_the_motion() -> None:
    once, twice = (head_motion(verdict(talking(3, 100, amplitude))) for amplitude in (1.0, 2.0))
    assert 1.9 < twice / once < 2.1
    shifted = FaceState.neutral(100)
    shifted.shift_x[50:] = 4 / 128
    assert 1.8 < head_motion(verdict(shifted)) < 2.1


def test_trembling_counts_little() -> None:
    still = verdict(FaceState.neutral(100))
    still["shift_x"] = 0.004 * (-1.0) ** torch.arange(100)
    assert head_motion(still) < 0.1


def test_a_talking_mouth_is_no_body_motion() -> None:
    still = FaceState.neutral(50)
    mouth = talking(1, 50)
    talks = still.with_mouth(mouth.mouth_open, mouth.mouth_width, mouth.mouth_round, mouth.teeth, mouth.tongue)
    frames = drawn(9_500_001, talks)
    assert body_motion(frames) < 0.05 * body_motion(drawn(9_500_001, talking(1, 50)))


def test_pieces_count_like_the_whole() -> None:
    frames = drawn(9_500_002, talking(2, 80))
    change = torch.nn.functional.avg_pool2d(frames.float(), 4).unfold(0, 6, 1)
    change = (change[..., 5] - change[..., 0]).abs().mean(dim=1)
    change[:, 16:29, 8:24] = 0
    assert abs(body_motion(frames) - change.sum().item() / (75 * (32 * 32 - 13 * 16))) < 1e-3


def test_a_short_video_does_not_move() -> None:
    assert body_motion(torch.zeros(3, 3, 128, 128, dtype=torch.uint8)) == 0
