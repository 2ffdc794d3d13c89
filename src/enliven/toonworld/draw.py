"""Draw a clip of one or more people, all frames in one batch."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from enliven.errors import RequestError
from enliven.toonworld.body import paint_body, paint_hand, paint_neck
from enliven.toonworld.canvas import Canvas, Placement
from enliven.toonworld.character import Character, Hat
from enliven.toonworld.face import paint_eyes, paint_glasses, paint_head, paint_mouth, paint_nose
from enliven.toonworld.hair import BACK_BOX, FRONT_BOX, paint_back_hair, paint_front_hair, paint_hat
from enliven.toonworld.scene import paint_scene
from enliven.toonworld.state import FaceState

NECK = 1.15
MIDDLE = 0.46
PARALLAX_FACE = 0.8
PARALLAX_HEAD = 0.12
PARALLAX_BACK = -0.15
NARROWEST = 0.6  # frame heights a person needs so that heads do not touch

Person = tuple[Character, FaceState]


def draw(character: Character, state: FaceState, size: tuple[int, int] = (128, 128)) -> Float[Tensor, "f 3 h w"]:
    """The clip in 0..1 at ``size`` (height, width)."""
    return draw_group([(character, state)], size)


def draw_group(people: Sequence[Person], size: tuple[int, int] = (128, 224)) -> Float[Tensor, "f 3 h w"]:
    """People side by side, from left to right, before the scene of the first one.

    Raises RequestError for states of different lengths, and for more people than the width holds.
    """
    frames = _check_group(people, size)
    pixels = paint_scene(people[0][0], size).repeat(frames, 1, 1, 1)
    for (character, state), middle in zip(people, _middles(len(people), size), strict=True):
        _paint_person(Canvas(pixels), character, state, middle)
    return pixels


def head_boxes(people: Sequence[Person], size: tuple[int, int] = (128, 224)) -> list[tuple[int, int, int, int]]:
    """Top, left, bottom and right of the pixels that hold each head of ``draw_group``, without hair, in all frames."""
    _check_group(people, size)
    height, width = size
    boxes = []
    for (character, state), middle in zip(people, _middles(len(people), size), strict=True):
        _, head = _placements(character, state, middle)
        half = character.geometry.head_width
        left, top, right, bottom = head.moved(PARALLAX_HEAD * state.yaw, PARALLAX_HEAD * state.pitch).bounds(
            (-half, -1.0, half, 1.0)
        )
        boxes.append(
            (
                max(0, round(top * height)),
                max(0, round(left * height + width / 2)),
                min(height, round(bottom * height)),
                min(width, round(right * height + width / 2)),
            )
        )
    return boxes


def portrait(character: Character, size: tuple[int, int] = (128, 128)) -> Float[Tensor, "3 h w"]:
    """The person at rest, mouth closed, looking at the viewer."""
    return draw(character, FaceState.neutral(1), size)[0]


def _check_group(people: Sequence[Person], size: tuple[int, int]) -> int:
    lengths = [len(state) for _, state in people]
    if len(set(lengths)) != 1:
        raise RequestError(
            f"people who move for {', '.join(map(str, lengths)) or 'no'} frames", hint="give all equally many frames"
        )
    if len(people) > 1 and size[1] / size[0] < NARROWEST * len(people):
        widest = int(size[1] / size[0] / NARROWEST)
        raise RequestError(
            f"{len(people)} people do not fit side by side into {size[0]} x {size[1]} pixels",
            hint=f"draw {max(1, widest)} at most, or make the frame wider",
        )
    return lengths[0]


def _middles(people: int, size: tuple[int, int]) -> list[float]:
    """Where people stand: equal shares of the width."""
    width = size[1] / size[0]
    return [(2 * index + 1 - people) * width / people / 2 for index in range(people)]


def _placements(character: Character, state: FaceState, middle: float) -> tuple[Placement, Placement]:
    """Of body and head."""
    framing = character.geometry.framing
    lift = -0.008 * state.breath
    body = Placement(middle + 0.25 * state.shift_x, MIDDLE + lift + 0.25 * state.shift_y, framing)
    head = Placement(
        middle + state.shift_x,
        MIDDLE + NECK * framing + 0.6 * lift + state.shift_y,
        framing,
        roll=state.roll,
        pivot=NECK,
    )
    return body, head


def _paint_person(canvas: Canvas, character: Character, state: FaceState, middle: float) -> None:
    body, head = _placements(character, state, middle)
    face, outline, back = (
        head.moved(share * state.yaw, share * state.pitch) for share in (PARALLAX_FACE, PARALLAX_HEAD, PARALLAX_BACK)
    )
    paint_back_hair(canvas.region(back, BACK_BOX), character)
    paint_neck(canvas, body, character)
    paint_body(canvas, body, character)
    paint_head(canvas, outline, face, character, state)
    paint_nose(canvas, face.moved(0.25 * state.yaw, 0.2 * state.pitch), character)
    paint_mouth(canvas, face, character, state)
    paint_eyes(canvas, face, character, state)
    paint_front_hair(canvas.region(outline.moved(0.2 * state.yaw, 0.2 * state.pitch), FRONT_BOX), character)
    paint_glasses(canvas, face, character)
    if character.hat is not Hat.NONE:
        paint_hat(canvas.region(outline, FRONT_BOX), character)
    paint_hand(canvas, body, character, state)
