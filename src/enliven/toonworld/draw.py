"""Draw a clip of one or two people, all frames in one batch."""

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


def draw(character: Character, state: FaceState, size: tuple[int, int] = (128, 128)) -> Float[Tensor, "f 3 h w"]:
    """The clip in 0..1 at ``size`` (height, width)."""
    pixels = paint_scene(character, size).repeat(len(state), 1, 1, 1)
    _paint_person(Canvas(pixels), character, state, middle=0.0)
    return pixels


def draw_pair(
    left: tuple[Character, FaceState], right: tuple[Character, FaceState], size: tuple[int, int] = (128, 224)
) -> Float[Tensor, "f 3 h w"]:
    """Two people side by side before the left one's scene; both states are equally long, else ``RequestError``."""
    if len(left[1]) != len(right[1]):
        raise RequestError(
            f"the left person moves for {len(left[1])} frames, the right one for {len(right[1])}",
            hint="give both people a state of the same number of frames",
        )
    pixels = paint_scene(left[0], size).repeat(len(left[1]), 1, 1, 1)
    canvas = Canvas(pixels)
    quarter = size[1] / size[0] / 4
    _paint_person(canvas, *left, middle=-quarter)
    _paint_person(canvas, *right, middle=quarter)
    return pixels


def portrait(character: Character, size: tuple[int, int] = (128, 128)) -> Float[Tensor, "3 h w"]:
    """The person at rest, mouth closed, looking at the viewer."""
    return draw(character, FaceState.neutral(1), size)[0]


def _paint_person(canvas: Canvas, character: Character, state: FaceState, middle: float) -> None:
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
